"""JUnit XML: what CI servers read. One suite per subject, one case per finding.

Passed: it holds. Failure: a violated requirement, or an indicator where the run fails on those. Error: the subject failed, or a target
could not be built. Skipped, with the reason: not applicable, inconclusive, and a violated indicator, which warns but does not fail;
none of them may look like a pass.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, fails
from gradcheck_suite.core.text import finding_text, headline, place_text, shortened, visible
from gradcheck_suite.reporting.files import write_text

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite


def write(report: Report, path: Path) -> Path:
    """Write JUnit XML.

    Raises:
        UsageError: the path cannot be written.
    """
    return write_text(path, render(report))


def render(report: Report) -> str:
    """The report as JUnit XML. Characters that XML cannot carry are written as escapes."""
    from junitparser import JUnitXml

    document = JUnitXml(name="gradcheck_suite")
    by: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by.setdefault(finding.subject, []).append(finding)
    for subject, findings in by.items():
        document.add_testsuite(_suite(subject, findings, report))
    if not report.run.complete:
        document.add_testsuite(_unfinished(report))
    if report.run.broken:
        document.add_testsuite(_unbuilt(report.run.broken))
    document.update_statistics()  # type: ignore[no-untyped-call]
    text: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text.decode("utf-8")}\n'


def _suite(subject: str, findings: list[Finding], report: Report) -> "TestSuite":
    from junitparser import TestSuite

    suite = TestSuite(_attribute(subject))
    suite.timestamp = visible(report.run.started)
    suite.add_property("seed", str(report.run.seed))
    suite.add_property("budget", visible(report.run.budget))
    suite.add_testcases([_case(finding, report.run.fail_on) for finding in findings])
    return suite


def _case(finding: Finding, fail_on: Level) -> "TestCase":
    from junitparser import Error, Failure, Skipped, TestCase

    place = place_text(finding)
    case = TestCase(name=_attribute(f"{finding.property} [{place}]" if place else finding.property),
                    classname=_attribute(f"{finding.subject}.{finding.family}"))
    text = finding_text(finding)
    if finding.verdict is Verdict.HOLDS:
        case.system_out = text
        return case
    kind = (Error if finding.verdict is Verdict.ERROR else Failure) if fails(finding, fail_on) else Skipped
    result = kind(_attribute(_message(finding)), f"{finding.verdict}-{finding.level}")
    result.text = text
    case.result = [result]
    return case


def _message(finding: Finding) -> str:
    if finding.evidence is not None:
        return f"{finding.verdict} ({finding.level}): {finding.evidence}"
    return f"{finding.verdict}: {finding.reason or finding.message}"


def _unfinished(report: Report) -> "TestSuite":
    """A run that did not end is an error of its own, or its missing cases would pass unseen."""
    from junitparser import Error, TestCase, TestSuite

    suite, case = TestSuite("run"), TestCase(name="complete", classname="run")
    case.result = [Error(_attribute(f"incomplete: {headline(report).incomplete}"), "incomplete")]
    suite.add_testcase(case)
    return suite


def _unbuilt(broken: tuple[str, ...]) -> "TestSuite":
    """Targets that could not be built: nothing was checked on them, which is an error for each."""
    from junitparser import Error, TestCase, TestSuite

    suite = TestSuite("targets")
    for number, text in enumerate(broken, 1):
        case = TestCase(name=f"built [{number}]", classname="targets")
        case.result = [Error(_attribute(text), "not-built")]
        suite.add_testcase(case)
    return suite


def _attribute(text: str) -> str:
    return visible(shortened(text))
