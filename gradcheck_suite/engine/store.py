"""The store: what a run has found so far, on disk in a form that no interruption can spoil.

``results.jsonl`` is the truth while a run goes: its first line says schema and versions, every further line is one event,
appended by one ``write``. ``run.json`` is replaced as a whole. ``cases/ID.json`` says how to run a check again, and is there
before the check runs. A folder that cannot be written costs one message, never the run.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import CheckFinished, CheckStarted, Event, Note, Run, RunFinished, RunStarted, SubjectStarted
from gradcheck_suite.core.finding import finding_id
from gradcheck_suite.core.report import SCHEMA
from gradcheck_suite.core.serialize import to_data

if TYPE_CHECKING:
    from gradcheck_suite.core.finding import Finding

RESULTS: Final = "results.jsonl"
RUN: Final = "run.json"
CASES: Final = "cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One property on one subject: enough to check it again.

    ``options`` are the texts that were given beside the target (or the data of a generated architecture).
    """

    id: str
    property: str
    subject: str
    target: str
    seed: int
    budget: str
    options: dict[str, Any] = field(default_factory=dict)


def case_id(property_name: str, subject: str) -> str:
    """The id of the case of ``family/id`` on a subject."""
    return finding_id(property_name, subject)


def to_stderr(text: str) -> None:
    """How a problem is told where nobody asked for another way."""
    print(f"gradcheck: {text}", file=sys.stderr)


class Store:
    """Writes events as they come. A folder that holds the beginning of the same run is continued.

    Args:
        folder: of the run; made if need be.
        options: by subject, what was given beside its target; put into the case files.
        tell: called once, with a sentence, where the folder cannot be written (any longer).
    """

    def __init__(self, folder: Path, options: Mapping[str, Mapping[str, Any]] | None = None,
                 tell: Callable[[str], None] = to_stderr) -> None:
        self.folder, self._options, self._tell = folder, options or {}, tell
        self.problem: str | None = None
        self._run: Run | None = None
        self._targets: dict[str, str] = {}
        self._file = -1
        with self._degrading():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / RESULTS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._mend()

    def handle(self, event: Event) -> None:
        """Store one event; never raises for a full or read-only disk."""
        match event:
            case RunStarted():
                self._run = event.run
                self._header(event.run)
                self._write_run(event.run)
            case SubjectStarted():
                self._targets[event.subject.name] = event.subject.target
            case CheckStarted():
                self._write_case(event)
            case RunFinished() if self._run is not None:
                self._write_run(replace(self._run, complete=not event.interrupted, seconds=event.seconds))
        self._append(to_data(event))

    def close(self) -> None:
        """Bring everything to the disk and let go of it."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
        self._file = -1

    def _mend(self) -> None:
        """End a torn last line, so that what follows is whole; the reader drops it. A file that is one torn line starts anew."""
        written = (self.folder / RESULTS).read_bytes()
        if written and b"\n" not in written:
            os.ftruncate(self._file, 0)
        elif written and not written.endswith(b"\n"):
            os.write(self._file, b"\n")

    def _header(self, run: Run) -> None:
        with self._degrading():
            if self._file >= 0 and os.fstat(self._file).st_size == 0:
                self._append({"schema": SCHEMA, "versions": to_data(run.versions)})

    def _append(self, data: Any) -> None:
        if self._file < 0:
            return
        with self._degrading():
            line = (json.dumps(data, allow_nan=False) + "\n").encode("ascii")
            if os.write(self._file, line) != len(line):
                raise OSError(f"only a part of {len(line)} bytes was written")

    def _write_run(self, run: Run) -> None:
        if self.problem is None:
            with self._degrading():
                write_whole(self.folder / RUN, json.dumps(to_data(run), indent=1))

    def _write_case(self, check: CheckStarted) -> None:
        if self._run is None or self.problem is not None:
            return
        case = Case(id=case_id(check.property, check.subject), property=check.property, subject=check.subject,
                    target=self._targets.get(check.subject, ""), seed=self._run.seed, budget=self._run.budget,
                    options=dict(self._options.get(check.subject, {})))
        self.write_case(case)

    def write_case(self, case: Case) -> None:
        """Put a case on the disk, before it runs."""
        with self._degrading():
            (self.folder / CASES).mkdir(exist_ok=True)
            (self.folder / CASES / f"{case.id}.json").write_text(json.dumps(to_data(case), indent=1), encoding="ascii")

    @contextlib.contextmanager
    def _degrading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self.problem is None:
                self.problem = f"results cannot be stored in {self.folder}: {error.strerror or error}; the run goes on without them"
                self._tell(self.problem)
            if self._file >= 0:
                os.close(self._file)
            self._file = -1


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content all at once: a temporary file, ``fsync``, rename, ``fsync`` of the folder."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    with contextlib.suppress(OSError):  # a folder cannot be opened on every system
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_events(folder: Path) -> Iterator[Event]:
    """The events of a run, finished or not.

    A line that is torn or does not fit is dropped, and a ``Note`` says so. A run that was resumed reads as one run: its second
    start and the interruption before it are left out.

    Raises:
        UsageError: the folder holds no run, or one of a newer schema.
    """
    from gradcheck_suite.schema import load_text

    started: set[str] = set()
    held: RunFinished | None = None
    dropped = 0
    for line in _lines(folder / RESULTS):
        try:
            event: Event = load_text(Event, line)
        except UsageError:
            dropped += 1
            continue
        if isinstance(event, RunStarted):
            if event.run.id in started:
                held = None
                continue
            started.add(event.run.id)
        if held is not None:
            yield held
            held = None
        if isinstance(event, RunFinished) and event.interrupted:
            held = event
            continue
        yield event
    if dropped:
        yield Note(text=f"{dropped} torn or unreadable line{'s were' if dropped > 1 else ' was'} dropped from {RESULTS}")
    if held is not None:
        yield held


def _lines(path: Path) -> Iterator[str]:
    """The lines after the header, a torn last one among them."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path.parent} holds no run: {error.strerror or error}", allowed="the folder of a run",
                         instead="Runs are in reports/ unless --output-dir said otherwise.") from None
    first, end, rest = text.partition("\n")
    if not end:
        return
    try:
        schema = json.loads(first)["schema"]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} does not begin with a schema", allowed=f"a {RESULTS} that gradcheck wrote") from None
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}", allowed=f"schema {SCHEMA}", instead="Read it with the version that wrote it.")
    yield from (line for line in rest.split("\n") if line)


def finished(events: Iterable[Event]) -> set[tuple[str, str]]:
    """Pairs of property (``family/id``) and subject whose check ended, whatever it found."""
    return {(event.property, event.subject) for event in events if isinstance(event, CheckFinished)}


def findings_of(folder: Path, case: Case) -> "tuple[Finding, ...]":
    """What the run in that folder found in a case; nothing where it did not finish the check."""
    found: tuple[Finding, ...] = ()
    with contextlib.suppress(UsageError):
        for event in read_events(folder):
            if isinstance(event, CheckFinished) and (event.property, event.subject) == (case.property, case.subject):
                found = event.findings
    return found


def find_case(runs: Path, text: str) -> tuple[Path, Case]:
    """The case with that id (or the start of it), of a check or of a finding, in the latest run that has one, and that run's folder.

    ``runs`` is the folder of one run, or a folder of runs. Folders that cannot be read, such as those of another version, are passed over.

    Raises:
        UsageError: no run knows it, or several cases of one run begin that way.
    """
    folders = [runs] if (runs / RESULTS).is_file() else sorted((path.parent for path in runs.glob(f"*/{RESULTS}")), reverse=True)
    passed = []
    for folder in folders:
        try:
            found = _named(folder, text)
        except UsageError as error:
            passed.append(str(error).partition("\n")[0])
            continue
        if len(found) > 1:
            raise UsageError(f"{len(found)} cases in {folder} begin with {text!r}", instead="Write the whole id.")
        if found:
            return folder, read_case(folder, found.pop())
    besides = f" ({len(passed)} of {len(folders)} runs could not be read: {'; '.join(passed[:3])})" if passed else ""
    raise UsageError(f"no case {text!r} in {runs}{besides}", allowed="an id that a report printed after 'gradcheck replay'",
                     instead="Runs are looked for in reports/ unless --output-dir said otherwise.")


def _named(folder: Path, text: str) -> set[str]:
    """The ids of the cases of a run that a text names, as cases or by a finding.

    Raises:
        UsageError: the folder cannot be read.
    """
    events = list(read_events(folder))
    found = {path.stem for path in (folder / CASES).glob("*.json") if path.stem.startswith(text)} if text.isalnum() else set()
    return found | {case_id(event.property, event.subject) for event in events if isinstance(event, CheckFinished)
                    if any(finding.id.startswith(text) for finding in event.findings)}


def read_case(folder: Path, identifier: str) -> Case:
    """The case with exactly that id.

    Raises:
        UsageError: its file is missing or damaged.
    """
    from gradcheck_suite.schema import load

    path = folder / CASES / f"{identifier}.json"
    try:
        return load(Case, json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
