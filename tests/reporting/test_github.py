"""GitHub annotations: one line each, unescaped by the runner's rules to what was meant, and no command of the user's."""

import re
from dataclasses import replace

from gradcheck_suite.core.evidence import Level
from gradcheck_suite.core.text import finding_text
from gradcheck_suite.reporting.github import MOST, render, write
from tests.reporting import samples

COMMAND = re.compile(r"::(error|warning|notice)(?: ((?:[a-z]+=[^,:\n]*,?)+))?::(.*)")


def unescaped(text: str) -> str:
    """As the runner does it (actions/runner, ActionCommand.cs)."""
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def commands(report):
    return [COMMAND.fullmatch(line) for line in render(report).splitlines()]


def test_each_line_is_one_command():
    found = commands(samples.mixed_report())
    assert all(found)
    assert [match[1] for match in found] == ["error", "error", "error", "warning", "warning", "notice"]


def test_an_annotation_is_at_its_source_and_says_what_the_text_says():
    first = commands(samples.report_of([samples.wrong_backward()]))[0]
    assert first[2] == "file=demo/ops.py,line=41,title=backprop-agreement violated at layer3.0.act (FusedGELU)"
    assert unescaped(first[3]) == finding_text(samples.wrong_backward())


def test_hostile_names_start_no_command_of_their_own():
    found = commands(samples.hostile_report())
    assert all(found)
    properties = [dict(part.split("=", 1) for part in match[2].split(",")) for match in found if match[2]]
    assert {name for entry in properties for name in entry} <= {"file", "line", "title"}


def test_no_more_than_github_shows():
    found = commands(samples.large_report(500))
    assert [match[1] for match in found].count("error") == MOST
    assert unescaped(found[MOST][3]) == "490 more findings of level error are in the report"


def test_a_healthy_run_is_one_notice():
    assert render(samples.healthy_report()) == "::notice title=gradcheck::No requirement is violated: 8 statements hold in resnet."


def test_written(tmp_path):
    assert write(samples.healthy_report(), tmp_path / "x.txt").read_text(encoding="utf-8").endswith("resnet.\n")


def test_a_run_that_fails_on_indicators_annotates_them_as_errors():
    assert "::error" not in render(samples.report_of([samples.dead_units()]))
    text = render(samples.report_of([samples.dead_units()], run=replace(samples.RUN, fail_on=Level.INDICATOR)))
    assert "::error" in text
    assert "::warning" not in text


def test_a_target_that_could_not_be_built_is_an_error():
    report = samples.report_of(samples.holding())
    text = render(replace(report, run=replace(report.run, broken=("demo.models:missing: no such name",))))
    assert text.startswith("::error title=a target could not be built::demo.models:missing")
    assert "1 target could not be built" in text.splitlines()[-1]
