"""Events: what a run says while it goes. Consumers (store, console, report) need nothing else."""

from dataclasses import dataclass
from typing import Literal

from gradcheck_suite.core.evidence import Level
from gradcheck_suite.core.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for and with what: enough to do it again. ``fail_on`` is the lowest level whose violation fails."""

    id: str
    command: tuple[str, ...]
    seed: int
    budget: str
    versions: dict[str, str]
    started: str = ""
    complete: bool = False
    checks_planned: int = 0
    checks_done: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    fail_on: Level = Level.REQUIREMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectFacts:
    """What is known of a subject: its name, target, size and modules (path, class)."""

    name: str
    target: str = ""
    parameters: int = 0
    modules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """First event of a run."""

    run: Run
    event: Literal["run-started"] = "run-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectStarted:
    """A subject's checks begin."""

    subject: SubjectFacts
    event: Literal["subject-started"] = "subject-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStarted:
    """One property meets one subject; ``property`` is ``family/id``."""

    property: str
    subject: str
    event: Literal["check-started"] = "check-started"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFinished:
    """The findings of one check; a check that ended has a record of this event, whatever it found."""

    property: str
    subject: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0
    event: Literal["check-finished"] = "check-finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the reader of the report must know (a stopped run, a restarted process, a folded warning)."""

    text: str
    event: Literal["note"] = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """Last event of a run; without it the report says INCOMPLETE.

    ``broken`` tells why targets could not be imported or built, where others could.
    """

    seconds: float
    interrupted: bool = False
    broken: tuple[str, ...] = ()
    event: Literal["run-finished"] = "run-finished"


Event = RunStarted | SubjectStarted | CheckStarted | CheckFinished | Note | RunFinished
