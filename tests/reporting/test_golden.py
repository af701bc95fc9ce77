"""Saved reports render to the saved pages; where they do not, the actual page is left for looking at."""

import pytest

from gradcheck_suite.reporting.html import render
from tests.reporting import golden


def test_there_are_golden_reports():
    assert [path.stem for path in golden.saved()] == sorted(golden.SAMPLES)


@pytest.mark.parametrize("path", golden.saved(), ids=lambda path: path.stem)
def test_a_saved_report_renders_to_its_page(path):
    actual = render(golden.read(path))
    expected = path.with_suffix(".html").read_text(encoding="utf-8")
    if golden.scrubbed(actual) != golden.scrubbed(expected):
        golden.ACTUAL.mkdir(parents=True, exist_ok=True)
        beside = golden.ACTUAL / f"{path.stem}.html"
        beside.write_text(actual, encoding="utf-8")
        pytest.fail(f"{path.stem}.html is not what it was: compare {beside} with {path.with_suffix('.html')}; "
                    "if the new page is right, accept it as reports/golden/README.md says")


@pytest.mark.parametrize("path", golden.saved(), ids=lambda path: path.stem)
def test_a_saved_report_survives_reading_and_writing(path):
    assert golden.dumped(golden.read(path)) == path.read_text(encoding="utf-8")


def test_scrubbing_keeps_words_and_drops_drawings():
    page = '<svg class="chart" id="a"><title>t</title><desc>d</desc><path d="M0"/></svg> gradcheck-suite 1.2.3 <svg class="gauge"></svg>'
    assert golden.scrubbed(page) == ('<svg class="chart" id="a"><title>t</title><desc>d</desc>[drawn]</svg> gradcheck-suite VERSION '
                                     '<svg class="gauge"></svg>')
