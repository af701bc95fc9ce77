"""JUnit XML: parsed by a strict parser, counts right, nothing that did not hold looks like a pass."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.text import visible
from gradcheck_suite.reporting.junit import render, write
from tests.reporting import samples


def parsed(report):
    return ET.fromstring(render(report).encode("utf-8"))


def test_counts():
    root = parsed(samples.mixed_report())
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "16", "failures": "2", "errors": "1", "skipped": "5"}
    assert [suite.get("name") for suite in root.iter("testsuite")] == ["resnet", "fused-attention"]


def test_only_what_holds_passes():
    passed = [case for case in parsed(samples.mixed_report()).iter("testcase")
              if not {child.tag for child in case} & {"failure", "error", "skipped"}]
    assert len(passed) == 8


def test_a_failure_tells_all():
    failure = next(parsed(samples.mixed_report()).iter("failure"))
    assert failure.get("message").startswith("violated (requirement): relative difference from the numeric gradient")
    assert "gradcheck replay" in failure.text


def test_a_violated_indicator_is_skipped_with_its_reason():
    skipped = list(parsed(samples.report_of([samples.dead_units()])).iter("skipped"))
    assert [entry.get("type") for entry in skipped] == ["violated-indicator"]
    assert "0.34 ± 0.02" in skipped[0].get("message")


def test_an_unfinished_run_is_an_error():
    assert parsed(samples.unfinished_report()).get("errors") == "1"


def test_hostile_names_survive_a_strict_parser():
    names = {suite.get("name") for suite in parsed(samples.hostile_report()).iter("testsuite")}
    assert names == {visible(name) for name in samples.HOSTILE}


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_survives(text):
    finding = samples.finding("x", Verdict.ERROR, text, reason=text, details=text, message=text)
    error = next(parsed(samples.report_of([finding])).iter("error"))
    assert visible(text) in error.get("message")


def test_written(tmp_path):
    assert write(samples.healthy_report(), tmp_path / "a" / "junit.xml").read_text(encoding="utf-8").startswith("<?xml")
    with pytest.raises(UsageError):
        write(samples.healthy_report(), tmp_path)


def test_a_run_that_fails_on_indicators_counts_them_as_failures():
    assert parsed(samples.report_of([samples.dead_units()])).get("failures") == "0"
    suites = parsed(samples.report_of([samples.dead_units()], run=replace(samples.RUN, fail_on=Level.INDICATOR)))
    assert (suites.get("failures"), suites.get("skipped")) == ("1", "0")


def test_a_target_that_could_not_be_built_is_an_error():
    report = samples.report_of(samples.holding())
    suites = parsed(replace(report, run=replace(report.run, broken=("demo.models:missing: no such name",))))
    assert suites.get("errors") == "1"
    assert "demo.models:missing" in suites.find(".//error").get("message")
