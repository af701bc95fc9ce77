"""The terminal: progress while a run goes, a summary when it ends. Every name of the user's is literal text, never markup."""

import io
import sys
from collections import Counter
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Final

from gradcheck_suite.core.causes import folded
from gradcheck_suite.core.events import CheckFinished, CheckStarted, Event, Note, RunFinished, RunStarted, SubjectStarted
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import GENERATED, Finding
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.text import facts, first_cause, headline, shortened, under_text, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MOST_FINDINGS: Final = 20
MOST_NOTES: Final = 20
_DETAIL_LINES: Final = 12
_NEARLY: Final = 0.99  # of a check that has not ended
_STYLES: Final = {Verdict.VIOLATED: "bold red", Verdict.ERROR: "bold magenta", Verdict.INCONCLUSIVE: "yellow", Verdict.HOLDS: "green",
                  Verdict.NOT_APPLICABLE: "dim"}
_TOLD: Final = (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)


def render(report: Report, file: IO[str] | None = None) -> None:
    """Print a report: what is wrong first of all, the failures with all that is known of each, what a search would have found, the counts.

    The headline comes last, where it is read first.
    """
    console = _console(file)
    if cause := first_cause(report):
        console.print(_text("Look first at this. ", "bold").append_text(_text(cause)))
        console.print()
    told = [pair for pair in folded(report.findings) if pair[0].verdict in _TOLD]
    for finding, under in told[:MOST_FINDINGS]:
        _show(console, finding, under)
    if len(told) > MOST_FINDINGS:
        console.print(_text(f"and {len(told) - MOST_FINDINGS:,} more findings in the report"))
    for finding in report.findings:
        if finding.subject == GENERATED and finding.verdict is Verdict.HOLDS and finding.evidence is not None:
            console.print(_text(finding.property, "green").append_text(_text(f": {shortened(finding.evidence.note)}", "dim")))
    for note in report.run.notes[:MOST_NOTES]:
        console.print(_text(f"note: {shortened(note)}", "dim"))
    if report.findings:
        console.print(_counts(report))
    line = headline(report)
    console.print(_text(str(line), _STYLES.get(line.verdict, "bold") if line.verdict else "bold"))


def _show(console: "Console", finding: Finding, under: Sequence[Finding] = ()) -> None:
    """One finding, in the words of ``core.text``: on a terminal wrapped beside its labels, else one line a fact."""
    from rich.table import Table

    title = f" {finding.family}/{finding.property} ({finding.level}) in {shortened(finding.subject)}"
    console.print(_text(finding.verdict.upper(), _style(finding)).append_text(_text(title, "bold")))
    known = [(label, shortened(words)) for label, words in facts(finding) if words]
    if under:
        known.append(("besides", shortened(under_text(under))))
    if console.is_terminal:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=12, no_wrap=True)
        grid.add_column(overflow="fold")
        for label, words in known:
            grid.add_row(_text(f"  {label}", "dim"), _text(words))
        console.print(grid)
    else:
        for label, words in known:
            console.print(_text(f"  {label:<10} {words}"))
    for line in shortened(finding.details, 8000).rstrip().splitlines()[-_DETAIL_LINES:]:
        console.print(_text(f"    {line.expandtabs(4)}", "dim"))
    console.print()


class ProgressConsumer:
    """Shows how far a run is, from its events; says nothing where the stream is not a terminal, or when asked to be quiet."""

    def __init__(self, file: IO[str] | None = None, *, quiet: bool = False) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        console = _console(file)
        seen = console.file.isatty() and console.is_terminal  # is_terminal alone is also true of a log with FORCE_COLOR
        self._counts: Counter[Verdict] = Counter()
        self._done = self._ticks = 0
        def fixed() -> Column:
            return Column(no_wrap=True)

        free = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # the name gives way, never a count
        self._progress = Progress(
            SpinnerColumn(), BarColumn(bar_width=16), MofNCompleteColumn(table_column=fixed()), TimeElapsedColumn(table_column=fixed()),
            TextColumn("{task.fields[counts]}", markup=False, table_column=fixed()),
            TextColumn("{task.description}", markup=False, table_column=free),
            console=console, transient=True, expand=True, disable=quiet or not seen)
        self._task = self._progress.add_task("", total=None, counts="", start=False)

    def handle(self, event: Event) -> None:
        """Take one event of the run."""
        match event:
            case RunStarted():
                self._progress.update(self._task, total=event.run.checks_planned or None)
                self._progress.start_task(self._task)
                self._progress.start()
            case SubjectStarted():
                self._describe(event.subject.name)
            case CheckStarted():
                self._describe(f"{event.property} in {event.subject}")
            case CheckFinished():
                self._counts.update(finding.verdict for finding in event.findings)
                self._done, self._ticks = self._done + 1, 0
                self._progress.update(self._task, completed=self._done, counts=self._summary())
            case Note():
                if not self._progress.disable:
                    self._progress.console.print(_text(f"note: {shortened(event.text)}", "dim"))
            case RunFinished():
                self.close()

    def tick(self, expected: int) -> None:
        """One of about ``expected`` pieces of the running check is done; more of them than expected move the bar no further."""
        self._ticks += 1
        within = min(self._ticks / max(expected, 1), _NEARLY)
        self._progress.update(self._task, completed=self._done + within, counts=self._summary())

    def close(self) -> None:
        """Take the bar away; also after an interruption, and more than once."""
        self._progress.stop()

    def _describe(self, text: str) -> None:
        self._progress.update(self._task, description=visible(text if len(text) <= 60 else text[:59] + "…"))

    def _summary(self) -> str:
        drawn = [f"network {self._ticks}"] if self._ticks else []
        counted = [verdict for verdict in (*_TOLD, Verdict.HOLDS) if self._counts[verdict]]
        return ", ".join([*drawn, *(f"{self._counts[verdict]} {verdict.value}" for verdict in counted)])


def _console(file: IO[str] | None) -> "Console":
    from rich.console import Console

    stream = sys.stdout if file is None else file
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a terminal that knows no "±" must not cost the verdict
    piped = not Console(file=stream).is_terminal
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=piped)  # programs read whole lines


def _text(words: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text().append(visible(words), style)


def _style(finding: Finding) -> str:
    warns = finding.verdict is Verdict.VIOLATED and finding.level is Level.INDICATOR
    return "bold yellow" if warns else _STYLES[finding.verdict]


def _counts(report: Report) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("family", no_wrap=True)
    for verdict in Verdict:
        table.add_column(verdict.value, justify="right")
    by: dict[str, Counter[Verdict]] = {}
    for finding in report.findings:
        by.setdefault(finding.family, Counter())[finding.verdict] += 1
    for family, counts in sorted(by.items()):
        table.add_row(_text(shortened(family, 40)), *(_text(f"{counts[verdict]:,}", _STYLES[verdict] if counts[verdict] else "dim")
                                                      for verdict in Verdict))
    return table
