"""A run at the terminal: stored, shown, written as asked, and ended with the right exit code."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.core.events import Event, Run, RunFinished, RunStarted
from gradcheck_suite.core.evidence import Level
from gradcheck_suite.core.report import Report, fold

if TYPE_CHECKING:
    from gradcheck_suite.reporting.console import ProgressConsumer


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where results go: a folder for everything, and single files anywhere (``.json``, ``.html``, ``.xml``, ``.sarif``, ``.md``)."""

    folder: Path = Path("reports")
    files: tuple[tuple[str, Path], ...] = ()
    view: bool = False
    github: bool = False
    quiet: bool = False
    fail_on: Level = Level.REQUIREMENT
    command: tuple[str, ...] = field(default_factory=lambda: ("gradcheck", *sys.argv[1:]))

    def checked(self) -> "Outputs":
        """These outputs, with every path known to be writable as far as can be told before the run.

        Raises:
            UsageError: a path is a folder where a file is meant, or the other way round.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"the output folder {self.folder} is a file", instead="Write --output-dir FOLDER.")
        for kind, path in self.files:
            if path.is_dir():
                raise UsageError(f"--{kind} {path} is a folder", allowed="the path of a file",
                                 instead=f"Write --{kind} {path / 'report'}.{kind}")
        return self


def execute(
    events: Iterable[Event], facts: Run, outputs: Outputs, earlier: Sequence[Event] = (),
    cases: Mapping[str, Mapping[str, Any]] | None = None, progress: "ProgressConsumer | None" = None,
) -> int:
    """Run to the end or to an interruption, and return the exit code.

    Args:
        events: the run's stream.
        facts: the record of the run.
        outputs: where results go.
        earlier: events of the interrupted run that this one resumes.
        cases: by subject, what its case files say beside property and seed.
        progress: shows how far the run is; one of its own where none is given.
    """
    from gradcheck_suite.engine.session import collect, stoppable
    from gradcheck_suite.engine.store import Store
    from gradcheck_suite.reporting import console

    folder = outputs.folder / facts.id
    store = Store(folder, cases)
    progress = progress or console.ProgressConsumer(sys.stderr, quiet=outputs.quiet)
    with stoppable():
        try:
            report, stopped = collect(events, store.handle, progress.handle, earlier=earlier)
        except TargetError as error:
            unbuilt(facts, error, folder, outputs)
            raise
        finally:
            progress.close()
            store.close()
    show(report, outputs)
    written = deliver(report, folder, outputs)
    if written is not None:
        print(f"Report: {written}")
        if outputs.view:
            _open(written)
    return 128 + stopped if stopped else report.exit_code()


def unbuilt(facts: Run, error: TargetError, folder: Path, outputs: Outputs) -> None:
    """Write what was asked for of a run whose only target could not be built: files that say so, where a reader waits for them."""
    if outputs.files:
        deliver(fold([RunStarted(run=facts), RunFinished(seconds=0.0, broken=(str(error),))]), folder, outputs)


def show(report: Report, outputs: Outputs) -> None:
    """The summary at the terminal."""
    from gradcheck_suite.reporting import console

    console.render(report, sys.stdout)
    for text in report.run.broken:
        print(f"gradcheck: {text}", file=sys.stderr)
    if outputs.github:
        from gradcheck_suite.reporting import github

        print(github.render(report))


def deliver(report: Report, folder: Path, outputs: Outputs) -> Path | None:
    """Write the report in every form asked for. One that cannot be written costs a message, never the verdict."""
    return write(report, [("json", folder / "report.json"), ("html", folder / "report.html"), *outputs.files])


def write(report: Report, files: Iterable[tuple[str, Path]]) -> Path | None:
    """Write these forms of the report, pairs of kind and path, and return the last page written."""
    page: Path | None = None
    for kind, path in files:
        try:
            written = _WRITERS[kind](report, path)
        except (OSError, UsageError) as error:
            print(f"gradcheck: {path} could not be written: {error}", file=sys.stderr)
            continue
        if kind == "html":
            page = written
    return page


def _json(report: Report, path: Path) -> Path:
    return report.to_json(path)


def _html(report: Report, path: Path) -> Path:
    return report.to_html(path)


def _junit(report: Report, path: Path) -> Path:
    from gradcheck_suite.reporting import junit

    return junit.write(report, path)


def _sarif(report: Report, path: Path) -> Path:
    from gradcheck_suite.reporting import sarif

    return sarif.write(report, path)


def _markdown(report: Report, path: Path) -> Path:
    from gradcheck_suite.reporting import markdown

    return markdown.write(report, path)


_WRITERS: dict[str, Callable[[Report, Path], Path]] = {
    "json": _json, "html": _html, "junit": _junit, "sarif": _sarif, "markdown": _markdown,
}


def _open(page: Path) -> None:
    import webbrowser

    webbrowser.open(page.resolve().as_uri())
