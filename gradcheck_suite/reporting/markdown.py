"""Markdown: for a pull request's comment or a job's summary. Names of the user's are escaped, and mention or link nothing."""

import re
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from typing import Final

from gradcheck_suite.core.causes import folded
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.text import headline, own_message, place_text, shortened, under_text, visible
from gradcheck_suite.reporting.files import write_text
from gradcheck_suite.reporting.numbers import allowed, measured

MOST_ROWS: Final = 50
_TOLD: Final = (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)
_PUNCTUATION: Final = re.compile(r"[\\`*_\[\]<>#|~&$!{}]|^[-+=]|(?<=^\d)[.)]")
_LINKING: Final = re.compile(r"@|://|(?<=www)(?=\.)|#(?=\d)")


def write(report: Report, path: Path) -> Path:
    """Write Markdown.

    Raises:
        UsageError: the path cannot be written.
    """
    return write_text(path, render(report))


def render(report: Report) -> str:
    """The report as Markdown (GitHub's dialect): headline, counts, a row for each finding that needs attention."""
    line = headline(report)
    subject = f" in {code(line.subject)}" if line.subject else ""
    places = " ".join(map(code, line.places)) + (f" and {line.more:,} more" if line.more else "")
    parts = [f"## {escaped(line.sentence)}{subject}{':' if line.places else '.'} {places}".rstrip()]
    parts += [f"**A target could not be built:** {escaped(text)}" for text in report.run.broken]
    if line.incomplete:
        parts.append(f"**Incomplete: {escaped(line.incomplete)}.**")
    if line.also:
        parts.append(f"{escaped(line.also)}.")
    told = [(finding, under) for finding, under in folded(report.findings) if finding.verdict in _TOLD]
    if told:
        parts.append("\n".join(["| verdict | statement | place | measured | allowed | reproduce |", "|---|---|---|---|---|---|",
                                *starmap(_row, told[:MOST_ROWS])]))
    if len(told) > MOST_ROWS:
        parts.append(f"{len(told) - MOST_ROWS:,} more findings are in the report.")
    parts += [f"- {escaped(note)}" for note in report.run.notes]
    parts.append(f"{report.run.checks_done:,} checks, seed {report.run.seed}, budget {escaped(report.run.budget)}.")
    return "\n\n".join(parts) + "\n"


def _row(finding: Finding, under: Sequence[Finding] = ()) -> str:
    evidence = finding.evidence
    place = f"{code(finding.subject)} {code(place_text(finding))}" if place_text(finding) else code(finding.subject)
    also = f". {escaped(under_text(under))}" if under else ""
    cells = [f"**{finding.verdict}** ({finding.level})", escaped(finding.statement or finding.property).rstrip(".") + also, place]
    if evidence is None:
        cells += [escaped(finding.reason or own_message(finding)), ""]
    else:
        unit = "" if evidence.unit == "1" else f" {escaped(evidence.unit)}"
        cells += [f"{escaped(evidence.quantity)}: {measured(evidence.value, evidence.error)}{unit}", allowed(evidence)]
    return f"| {' | '.join([*cells, code(finding.reproduce)])} |"


def escaped(text: str) -> str:
    """Text that shows itself: punctuation with backslashes; what would mention, refer or link broken by an empty comment."""
    plain = _PUNCTUATION.sub(lambda match: f"\\{match[0]}", visible(shortened(text)))
    return _LINKING.sub(lambda match: f"{match[0]}<!-- -->", plain)


def code(text: str) -> str:
    """Text as a code span, also inside a table: with a fence longer than any run of backticks in it, pipes escaped."""
    plain = visible(shortened(text)).strip()
    if not plain:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    room = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{room}{plain}{room}{fence}".replace("|", "\\|")
