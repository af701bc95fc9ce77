"""GitHub workflow annotations: ``::error file=…,line=…,title=…::message``, escaped as GitHub's runner unescapes them."""

from pathlib import Path
from typing import Final

from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, fails
from gradcheck_suite.core.text import finding_text, headline, short_place, shortened, visible
from gradcheck_suite.reporting.files import write_text
from gradcheck_suite.reporting.sarif import source_of

MOST: Final = 10  # annotations of one kind that GitHub shows for one step


def write(report: Report, path: Path) -> Path:
    """Write the annotations, one a line.

    Raises:
        UsageError: the path cannot be written.
    """
    return write_text(path, render(report) + "\n")


def render(report: Report) -> str:
    """The annotations: failures as errors, violated indicators and inconclusive findings as warnings, the headline as a notice."""
    lines: list[str] = []
    for command, chosen in (("error", [f for f in report.findings if fails(f)]), ("warning", [f for f in report.findings if _warns(f)])):
        lines += [_annotation(command, finding) for finding in chosen[:MOST]]
        if len(chosen) > MOST:
            lines.append(f"::notice::{_data(f'{len(chosen) - MOST:,} more findings of level {command} are in the report')}")
    return "\n".join([*lines, f"::notice title=gradcheck::{_data(str(headline(report)))}"])


def _warns(finding: Finding) -> bool:
    return finding.verdict in (Verdict.VIOLATED, Verdict.INCONCLUSIVE) and not fails(finding)


def _annotation(command: str, finding: Finding) -> str:
    place = short_place(finding)
    title = shortened(f"{finding.property} {finding.verdict}" + (f" at {place}" if place else ""), 200)
    source = source_of(finding)
    where = f"file={_property(source[0])},line={source[1]}," if source is not None else ""
    return f"::{command} {where}title={_property(title)}::{_data(finding_text(finding))}"


def _data(text: str) -> str:
    """Escaped message (actions/toolkit, core/src/command.ts, ``escapeData``)."""
    return visible(text, keep="\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escaped property value (``escapeProperty``)."""
    return _data(visible(text)).replace(":", "%3A").replace(",", "%2C")
