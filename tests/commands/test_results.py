"""Runs on disk: merged, placed, compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from gradcheck_suite.commands.results import difference, merged, placed
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import RunFinished
from gradcheck_suite.core.evidence import Level, Verdict, Where
from gradcheck_suite.core.report import fold
from tests.core.test_report import finding, stream


@pytest.fixture
def saved(tmp_path):
    def save(name, *findings, broken=()):
        events = [*stream(*findings, finished=False), RunFinished(seconds=1.0, broken=broken)]
        return fold(events).to_json(tmp_path / name)
    return save


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_violation_in_any_of_the_runs_stays(saved, order):
    files = [saved("a.json", finding(Verdict.VIOLATED)), saved("b.json", finding(Verdict.HOLDS))]
    report = merged([files[index] for index in order])
    assert report.exit_code() == 1
    assert (report.run.checks_done, report.summary["violated"], report.summary["holds"]) == (1, 1, 0)
    assert any("differs between the runs" in note for note in report.run.notes)


def test_what_could_not_be_built_in_any_run_is_told(saved):
    report = merged([saved("a.json", finding(Verdict.HOLDS), broken=("first",)),
                     saved("b.json", finding(Verdict.HOLDS, subject="t"), broken=("second",))])
    assert report.run.broken == ("first", "second")
    assert report.exit_code() == 2


def test_a_report_never_replaces_what_it_was_made_of(tmp_path):
    (tmp_path / "run").mkdir()
    run, file = tmp_path / "run", tmp_path / "a.json"
    assert placed([run], []) == [("html", run / "report.html")]
    assert placed([run, file], []) == [("html", Path("report.html"))]
    assert placed([run], [("json", file)]) == [("json", file)]
    for target in (run / "report.json", file):
        with pytest.raises(UsageError, match="would replace"):
            placed([run, file], [("json", target)])


def test_a_place_that_moves_in_the_source_is_no_change():
    there = Where(module="a", function="F", source="ops.py:3", entry=(1,))
    before = fold(stream(finding(Verdict.VIOLATED, where=there)))
    after = fold(stream(finding(Verdict.VIOLATED, where=replace(there, source="ops.py:4", entry=(2,)))))
    assert difference(before, after) == ("no verdict changed", 0)


def test_a_violation_beside_what_holds_at_one_place_is_not_hidden():
    bad = fold(stream(finding(Verdict.VIOLATED), finding(Verdict.HOLDS)))
    good = fold(stream(finding(Verdict.HOLDS)))
    assert difference(good, bad)[1] == 1
    assert "violated (requirement) -> holds" in difference(bad, good)[0]


def test_a_new_warning_is_told_and_fails_nothing():
    text, failures = difference(fold(stream(finding(Verdict.HOLDS))), fold(stream(finding(Verdict.VIOLATED, Level.INDICATOR))))
    assert "holds -> violated (indicator)" in text
    assert failures == 0
