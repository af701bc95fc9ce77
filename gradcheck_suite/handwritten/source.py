"""Captures of hand-written gradients for the engine, and the run around them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gradcheck_suite import catalogue
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.events import Event, Note, RunFinished, SubjectFacts
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.property import Property
from gradcheck_suite.core.report import Report
from gradcheck_suite.engine.run import Plan, described, run
from gradcheck_suite.engine.session import collect

Take = Callable[[], Any]


class HandwrittenSource:
    """A ``CaptureSource`` whose captures are taken from hand-written code, each once."""

    def __init__(self, facts: SubjectFacts, takes: Mapping[str, Take]) -> None:
        self.facts = facts
        self._takes = takes
        self._outcomes: dict[str, Any] = {}

    def capture(self, probe: str) -> Any:
        """The capture of that name.

        Raises:
            SubjectError: the user's code raised; the same error each time it is asked.
        """
        if probe not in self._outcomes:
            try:
                self._outcomes[probe] = self._takes[probe]()
            except (NotApplicable, SubjectError) as failure:
                self._outcomes[probe] = failure
        outcome = self._outcomes[probe]
        if isinstance(outcome, NotApplicable | SubjectError):
            raise outcome
        return outcome

    def prefetch(self, probes: Sequence[str]) -> None:
        """Nothing to save: captures are taken when they are asked for."""

    def close(self) -> None:
        """Forget the captures."""
        self._outcomes.clear()


class DecidedReport(Report):
    """A report that is not ``ok`` while a requirement is undecided: a gradient that could not be measured is not a right one."""

    def exit_code(self, fail_on: Level | None = None) -> int:
        """0 fine, 1 a failure, 4 a requirement is inconclusive, 5 nothing was checked."""
        code = super().exit_code(fail_on)
        undecided = any(f.verdict is Verdict.INCONCLUSIVE and f.level is Level.REQUIREMENT for f in self.findings)
        return 4 if code == 0 and undecided else code


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a public function.

    Attributes:
        function: its name.
        facts: of the subject.
        takes: a fresh set of ways to take each capture, by name.
        seed: of everything random, ``None`` where nothing is.
        budget: its name.
        notes: filled while captures are taken: what the reader of the report must know.
    """

    function: str
    facts: SubjectFacts
    takes: Callable[[], Mapping[str, Take]]
    seed: int | None
    budget: str
    notes: list[str] = field(default_factory=list)


def reported(request: Request, properties: Sequence[str]) -> Report:
    """Check these statements and fold the events into a report.

    Raises:
        UsageError: an argument of the user's is not what is allowed.
        KeyboardInterrupt: the run was stopped.
    """
    chosen = tuple(map(statement, properties))
    again = f"call {request.function} again" + ("" if request.seed is None else f" with seed={request.seed}")
    plan = Plan((lambda: HandwrittenSource(request.facts, request.takes()),), chosen, reproduce=lambda _id: again)
    facts = described((request.function, request.facts.name), request.seed or 0, request.budget, len(chosen))
    report, stopped = collect(_noted(run(plan, facts), request.notes))
    if stopped:
        raise KeyboardInterrupt
    return DecidedReport(**{item.name: getattr(report, item.name) for item in fields(report)})


def _noted(events: Iterator[Event], notes: list[str]) -> Iterator[Event]:
    """The events, with the notes that arose before the last one."""
    for event in events:
        if isinstance(event, RunFinished):
            yield from (Note(text=text) for text in dict.fromkeys(notes))
        yield event


def statement(name: str) -> Property:
    """The statement in ``handwritten/<family>/<id>.py``, loaded by the catalogue."""
    family, _, stem = name.partition("/")
    return catalogue.load(catalogue.read(Path(__file__).parent / family / f"{stem}.py"))
