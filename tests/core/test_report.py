"""Events folded into a report, its exit codes, and its JSON."""

import json
import math

import pytest

from gradcheck_suite.core.events import CheckFinished, Event, Note, Run, RunFinished, RunStarted, SubjectFacts, SubjectStarted
from gradcheck_suite.core.evidence import Evidence, Level, Verdict
from gradcheck_suite.core.exhibits import Code, Curve, Histogram, Series, Table
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, fold
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.schema import load, load_text, report_schema

RUN = Run(id="r1", command=("gradcheck", "audit"), seed=3, budget="quick", versions={"torch": "x"}, checks_planned=2)


def finding(verdict, level=Level.REQUIREMENT, **facts):
    known = {"id": "abcd", "property": "p", "family": "f", "symptoms": (), "subject": "s", "message": "m"} | facts
    return Finding(verdict=verdict, level=level, **known)


def stream(*findings, finished=True):
    events: list[Event] = [RunStarted(run=RUN), SubjectStarted(subject=SubjectFacts(name="s"))]
    events += [CheckFinished(property=f"f/p{i}", subject="s", findings=(f,)) for i, f in enumerate(findings)]
    return [*events, *([RunFinished(seconds=1.0)] if finished else [])]


@pytest.mark.parametrize(("findings", "code"), [
    ([], 5),
    ([finding(Verdict.NOT_APPLICABLE)], 5),
    ([finding(Verdict.HOLDS)], 0),
    ([finding(Verdict.HOLDS), finding(Verdict.INCONCLUSIVE)], 0),
    ([finding(Verdict.INCONCLUSIVE), finding(Verdict.NOT_APPLICABLE)], 4),
    ([finding(Verdict.HOLDS), finding(Verdict.VIOLATED)], 1),
    ([finding(Verdict.HOLDS), finding(Verdict.VIOLATED, Level.INDICATOR)], 0),
    ([finding(Verdict.HOLDS), finding(Verdict.ERROR)], 1),
])
def test_exit_codes(findings, code):
    assert fold(stream(*findings)).exit_code() == code


def test_an_indicator_fails_where_that_is_asked_for():
    report = fold(stream(finding(Verdict.HOLDS), finding(Verdict.VIOLATED, Level.INDICATOR)))
    assert report.exit_code(Level.INDICATOR) == 1


def test_violations_come_first_and_requirements_before_indicators():
    report = fold(stream(finding(Verdict.HOLDS), finding(Verdict.VIOLATED, Level.INDICATOR), finding(Verdict.VIOLATED)))
    assert [(f.verdict, f.level) for f in report.findings][:2] == [
        (Verdict.VIOLATED, Level.REQUIREMENT), (Verdict.VIOLATED, Level.INDICATOR)]


def test_a_run_without_its_last_event_is_incomplete():
    report = fold(stream(finding(Verdict.HOLDS), finished=False))
    assert not report.run.complete
    assert (report.run.checks_done, report.run.checks_planned) == (1, 2)
    assert report.exit_code() == 4
    assert fold(stream(finding(Verdict.HOLDS))).run.complete


def test_an_interrupted_run_is_incomplete():
    assert not fold([*stream(finding(Verdict.HOLDS), finished=False), RunFinished(seconds=0.0, interrupted=True)]).run.complete


def test_report_json_has_no_nan_and_comes_back_equal(tmp_path):
    evidence = Evidence(quantity="q", value=math.nan, error=math.inf, low=-math.inf, high=0.0, exhibits=(
        Curve(title="t", x_label="x", y_label="y", series=(Series(name="n", x=(0.0,), y=(math.inf,)),), band=((0.0, 1.0, 2.0),)),
        Histogram(title="h", x_label="x", edges=(0.0, 1.0), counts=(3,)), Table(title="t", columns=("a",), rows=((1,), ("x",), (0.5,))),
        Code(title="c", text="print()", language="python")))
    report = fold(stream(finding(Verdict.INCONCLUSIVE, evidence=evidence, subject="\udcff<b>\x00")))
    path = report.to_json(tmp_path / "deep" / "report.json")
    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert data["schema"] == 1
    assert data["findings"][0]["evidence"]["value"] == "nan"
    again = load(Report, data)
    assert to_data(again) == data
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("event", [*stream(finding(Verdict.HOLDS)), Note(text="n")])
def test_every_event_survives_json(event):
    assert load_text(Event, json.dumps(to_data(event))) == event


def test_the_schema_names_every_verdict():
    assert all(verdict.value in json.dumps(report_schema()) for verdict in Verdict)
