"""GitHub workflow annotations: ``::error file=…,line=…,title=…::message``, escaped as GitHub's runner unescapes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.text import finding_text, headline, kinds, short_place, shortened, visible
from gradcheck_suite.reporting.files import write_text
from gradcheck_suite.reporting.sarif import source_of

_WARNED: Final = (Verdict.VIOLATED, Verdict.INCONCLUSIVE)
MOST: Final = 10  # annotations of one kind that GitHub shows for one step


def write(report: Report, path: Path) -> Path:
    """Write the annotations, one a line.

    Raises:
        UsageError: the path cannot be written.
    """
    return write_text(path, render(report) + "\n")


def render(report: Report) -> str:
    """The annotations: failures as errors, what else is violated or inconclusive as warnings, the headline as a notice."""
    lines = [f"::error title=a target could not be built::{_data(shortened(text))}" for text in report.run.broken]
    failed, known = report.failures(), kinds(report)
    for command, chosen in (("error", failed), ("warning", [f for f in report.findings if f.verdict in _WARNED and f not in failed])):
        lines += [_annotation(command, finding, known) for finding in chosen[:MOST]]
        if len(chosen) > MOST:
            lines.append(f"::notice::{_data(f'{len(chosen) - MOST:,} more findings of level {command} are in the report')}")
    return "\n".join([*lines, f"::notice title=gradcheck::{_data(str(headline(report)))}"])


def _annotation(command: str, finding: Finding, known: Mapping[tuple[str, str], str]) -> str:
    place = short_place(finding, known)
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
