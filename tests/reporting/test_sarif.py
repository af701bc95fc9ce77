"""SARIF: valid where it matters to services, one result for each finding that asks for attention."""

import json
from dataclasses import replace

import pytest

from gradcheck_suite.core.evidence import Level, Where
from gradcheck_suite.reporting.sarif import document, render, source_of, write
from tests.reporting import samples


def results(report):
    return json.loads(render(report))["runs"][0]["results"]


def test_kinds_and_levels():
    told = [(result["kind"], result["level"]) for result in results(samples.mixed_report())]
    assert told == [("fail", "error"), ("fail", "error"), ("fail", "warning"), ("fail", "error"), ("open", "none")]


def test_what_holds_or_does_not_apply_is_counted_but_no_alert():
    run = json.loads(render(samples.healthy_report()))["runs"][0]
    assert run["results"] == []
    assert run["properties"]["summary"]["holds"] == 8
    assert run["properties"]["summary"]["not-applicable"] == 3


def test_every_result_names_its_rule_and_has_a_place():
    run = document(samples.mixed_report())["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        physical = result["locations"][0]["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        assert physical["artifactLocation"]["uri"]


def test_a_source_line_is_the_location():
    location = results(samples.report_of([samples.wrong_backward()]))[0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": "demo/ops.py", "uriBaseId": "%SRCROOT%"}
    assert location["physicalLocation"]["region"] == {"startLine": 41}
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "resnet.layer3.0.act"


def test_without_a_source_the_target_is_the_location():
    location = results(samples.report_of([samples.vanishing()]))[0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "demo/models.py"
    unknown = results(samples.report_of([samples.vanishing()], subjects=()))[0]["locations"][0]
    assert unknown["physicalLocation"]["artifactLocation"]["uri"] == "report.json"


def test_an_unfinished_run_was_not_successful():
    assert document(samples.unfinished_report())["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert document(samples.mixed_report())["runs"][0]["invocations"][0]["executionSuccessful"] is True


@pytest.mark.parametrize(("source", "found"), [
    ("a/b.py:3", ("a/b.py", 3)), ("C:\\x\\b.py:7", ("C:\\x\\b.py", 7)), ("b.py", None), ("b.py:0", None), ("b.py:x", None), (":3", None),
    (None, None), ("b.py:٣", None),
])
def test_source_of(source, found):
    assert source_of(samples.finding("x", samples.Verdict.ERROR, where=Where(source=source))) == found


def test_hostile_names_are_data():
    text = render(samples.hostile_report())
    text.encode("utf-8")
    run = json.loads(text)["runs"][0]
    assert len(run["results"]) == 2 * len(samples.HOSTILE)
    for result in run["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert not set(uri) & set(" <>\"{}|\\^`\n")


def test_written(tmp_path):
    assert json.loads(write(samples.mixed_report(), tmp_path / "x.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"


def test_a_run_that_fails_on_indicators_reports_errors():
    levels = [document(samples.report_of([samples.dead_units()], run=replace(samples.RUN, fail_on=level)))["runs"][0]["results"][0]["level"]
              for level in (Level.REQUIREMENT, Level.INDICATOR)]
    assert levels == ["warning", "error"]


def test_a_target_that_could_not_be_built_is_no_success():
    report = samples.report_of(samples.holding())
    (told,) = document(replace(report, run=replace(report.run, broken=("demo.models:missing: no such name",))))["runs"][0]["invocations"]
    assert told["executionSuccessful"] is False
    assert told["toolExecutionNotifications"][0] == {"level": "error", "message": {"text": "demo.models:missing: no such name"}}
