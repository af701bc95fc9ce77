"""The page: the verdict first, every finding's facts, readable at any size, and names that stay names."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.evidence import Verdict, Where
from gradcheck_suite.core.exhibits import SMALLEST_NETWORK, Code
from gradcheck_suite.core.finding import GENERATED
from gradcheck_suite.core.text import visible
from gradcheck_suite.reporting.html import render, summary_fragment, write_page
from tests.reporting import samples

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Elements, attributes and text of a page; it complains about tags that do not nest."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.ids, self.targets, self.words, self._open = [], [], [], [], [], []
        self.feed(text.replace("<wbr>", ""))  # where a line may break is no gap between words
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.targets += [values["href"]] if "href" in values else []

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def mixed():
    return Outline(render(samples.mixed_report()))


def test_the_verdict_comes_first(mixed):
    headings = [index for index, tag in enumerate(mixed.tags) if tag in ("h1", "h2")]
    assert mixed.tags[headings[0]] == "h1"
    assert mixed.text.index("2 requirements are violated.") < mixed.text.index("Violated requirements")


def test_sections_follow_urgency(mixed):
    titles = ["Violated requirements", "Errors", "Violated indicators", "Inconclusive", "Layer by layer", "What holds",
              "What was not checked, and why", "The run"]
    places = [mixed.text.index(f" {title} ") for title in titles]
    assert places == sorted(places)


@pytest.mark.parametrize("words", [
    "0.03125 ± 4.1 × 10⁻¹⁰", "allowed: between 0 and 10⁻⁷", "layer3.0.act", "[2, 17, 3, 0]", "FusedGELU", "demo/ops.py:41",
    "analytic / numeric is 0.969", "kink (one branch signature at every step)", "gradcheck replay", "Stand-alone script",
    "torch.manual_seed(3713081631934410656)", "he-initialization", "helps", "−0.008 ± 0.039", "Segmentation fault", "22 of 64 units",
    "the input has no time axis", "recurrence/gradient-across-time", "41.7 s", "torch 2.13.0", "seed 7",
    "at most 10⁻⁵ for the 10 statements judged here together", "11,173,962 parameters", "was started again after a crash",
])
def test_every_fact_of_the_report_is_on_the_page(mixed, words):
    assert words in mixed.text


def test_ids_are_unique_and_links_lead_somewhere(mixed):
    assert len(mixed.ids) == len(set(mixed.ids))
    assert all(target.startswith("#") and target[1:] in mixed.ids for target in mixed.targets)


def test_nothing_is_loaded_and_nothing_runs(mixed):
    page = render(samples.mixed_report())
    assert not {"script", "img", "iframe", "link", "object"} & set(mixed.tags)
    assert not [name for name in mixed.attributes if name.startswith("on") or name == "src"]
    assert not re.search(r"https?://|@import|url\((?!#)", page)


def test_an_unfinished_run_says_so_at_the_top_and_among_the_unchecked():
    text = Outline(render(samples.unfinished_report())).text
    assert text.index("Incomplete: 8 of 60 checks.") < text.index("1 requirement is violated")
    assert "The run did not end: 8 of 60 checks." in text


def test_nothing_checked_is_not_a_pass():
    text = Outline(render(samples.empty_report())).text
    assert "Nothing was checked" in text
    assert "✓ holds" in text
    assert "statements hold" not in text
    assert "No requirement is violated" not in text


def test_hostile_names_stay_text():
    outline = Outline(render(samples.hostile_report()))
    assert not {"script", "img", "x", "red"} & set(outline.tags)
    assert outline.tags.count("style") == 1
    assert not [name for name in outline.attributes if name.startswith("on") or name == "src"]
    assert all(target.startswith("#") for target in outline.targets)
    assert len(outline.ids) == len(set(outline.ids))
    for name in samples.HOSTILE:
        assert re.sub(r"\s+", " ", visible(name)) in outline.text


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_any_name_is_shown_as_itself(name):
    finding = replace(samples.segfault(), subject=name, id=name, property=name, family=name, reason=name, details=name, reproduce=name)
    outline = Outline(render(samples.report_of([finding])))
    assert re.sub(r"\s+", " ", visible(name)).strip() in outline.text
    assert "script" not in outline.tags


def test_thousands_of_findings_are_counted_not_listed():
    page = render(samples.large_report(5000))
    outline = Outline(page)
    assert len(page) < 600_000
    assert outline.tags.count("article") == 6
    assert "5,000" in outline.text
    shown = outline.tags.count("article")
    rest = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) further findings are in report.json", outline.text)]
    assert shown + 2 * 50 + sum(rest) == 5000


def test_many_properties_share_the_room_for_full_findings():
    many = [replace(samples.kink(), property=f"property-{index}", subject=f"s{index}") for index in range(120)]
    outline = Outline(render(samples.report_of(many)))
    assert outline.tags.count("article") == 40
    assert all(f"property-{index} " in outline.text for index in range(120))


def test_a_flood_of_text_is_cut_and_said_to_be():
    finding = replace(samples.segfault(), details="x" * 5_000_000, reason="y" * 5_000_000)
    page = render(samples.report_of([finding]))
    assert len(page) < 150_000
    assert "characters left out" in page


def test_written_all_or_nothing(tmp_path):
    target = tmp_path / "new" / "report.html"
    assert write_page(samples.healthy_report(), target) == target
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_a_directory_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="it is a directory"):
        write_page(samples.healthy_report(), tmp_path)


def test_the_notebook_fragment_is_whole_and_styles_only_itself():
    fragment = summary_fragment(samples.mixed_report())
    outline = Outline(fragment)
    assert "2 requirements are violated in resnet" in outline.text
    style = fragment.partition("<style>")[2].partition("</style>")[0].strip()
    assert all(line.startswith(".gradcheck-report") for line in style.splitlines())
    assert outline.tags.count("tr") == 6


def test_the_notebook_fragment_keeps_hostile_names_as_text():
    outline = Outline(summary_fragment(samples.hostile_report()))
    assert not {"script", "img"} & set(outline.tags)
    assert outline.tags.count("tr") == 13


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_alone_makes_a_page(verdict):
    finding = samples.finding("backprop-agreement", verdict, reason="a fact", message="a message")
    assert "a fact" in Outline(render(samples.report_of([finding]))).text or verdict is Verdict.HOLDS


def test_the_title_leaves_out_the_target_which_breaks_after_slashes_and_colons():
    target = "/a/long/path/of/models.py:build_with_everything"
    page = render(samples.report_of([replace(samples.wrong_backward(), subject=target)]))
    assert '<h1 id="headline">1 requirement is violated.</h1>' in page
    assert '<p class="target"><code>/<wbr>a/<wbr>long/<wbr>path/<wbr>of/<wbr>models.py:<wbr>build_with_everything</code></p>' in page


def test_errors_for_one_reason_are_under_one_card():
    errors = [samples.finding(name, Verdict.ERROR, reason="it raised") for name in ("gradient-reach", "initial-loss")]
    outline = Outline(render(samples.report_of(errors)))
    assert outline.tags.count("article") == 1
    assert "Not judged either, for the same reason initial-loss" in outline.text


def test_what_one_wrong_gradient_explains_is_under_its_card():
    identity = samples.finding("batch-additivity", Verdict.VIOLATED, where=Where(module="layer1"))
    outline = Outline(render(samples.report_of([identity, samples.wrong_backward()])))
    assert outline.tags.count("article") == 1
    assert "Also violated, explained by this batch-additivity" in outline.text
    assert "Violated requirements 2 " in outline.text


def test_a_search_shows_the_network_before_the_measurement_and_its_script_unfolded():
    evidence = samples.wrong_backward().evidence
    network = Code(title=SMALLEST_NETWORK, text="input (3,)\n0  dense(units=1)")
    found = replace(samples.wrong_backward(), subject=GENERATED, evidence=replace(evidence, exhibits=(network, *evidence.exhibits)))
    page = render(samples.report_of([found]))
    text = Outline(page).text
    assert text.index("0 dense(units=1)") < text.index("relative difference from the numeric gradient")
    assert "Statements that a generated network breaks" in text
    assert "this model breaks" not in text
    assert re.search(r"<details open>\s*<summary>Stand-alone script", page)
    long = Code(title="Script", text="pass\n" * 60, language="python")
    assert not re.search(r"<details open>\s*<summary>Script", render(samples.report_of([
        replace(found, evidence=replace(evidence, exhibits=(long,)))])))


def test_targets_that_could_not_be_built_are_at_the_top():
    report = samples.report_of(samples.holding())
    page = render(replace(report, run=replace(report.run, broken=("demo.models:<missing>",))))
    text = Outline(page).text
    assert text.index("A target could not be built.") < text.index("demo.models:<missing>") < text.index("What holds")
    assert "No requirement is violated" not in text


def test_the_counts_are_those_of_the_report(mixed):
    assert "3 ✕ violated" in mixed.text
    assert "1 △ indicators among them" in mixed.text
    assert samples.mixed_report().summary["violated"] == 3


def test_the_hint_of_what_is_inconclusive_fits_every_reason(mixed):
    assert "the error is too large" not in mixed.text
    assert "each says why" in mixed.text
