"""What the tests read in a report."""

from gradcheck_suite.core.evidence import Level, Verdict


def of(report, statement="handwritten-agreement"):
    return [finding for finding in report.findings if finding.property == statement]


def only(report, statement="handwritten-agreement"):
    found = of(report, statement)
    assert len(found) == 1, [finding.message for finding in found]
    return found[0]


def violations(report, level=Level.REQUIREMENT):
    return {finding.where.parameter: finding for finding in of(report) if finding.verdict is Verdict.VIOLATED and finding.level is level}
