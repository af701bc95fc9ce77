"""How a child ended without a result, and what is said of it."""

import signal
from dataclasses import dataclass
from typing import Final, Literal

from gradcheck_suite.core.errors import SubjectError, TargetError

Reason = Literal["exit", "signal", "timeout", "memory", "log", "processes", "threads"]
UNKNOWN: Final = -1000
_MEANINGS: Final = {"SIGSEGV": "segmentation fault", "SIGABRT": "abort", "SIGBUS": "bus error", "SIGFPE": "arithmetic exception",
                    "SIGILL": "illegal instruction"}
_MIB: Final = 1 << 20
_COSTLY: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A child's end.

    Attributes:
        reason: it exited, a signal ended it, or a limit was exceeded and it was killed.
        code: exit code, or minus the signal's number; ``UNKNOWN`` where the fork server was killed and nobody can know.
        probe: what was running; ``""`` for the import or the build.
        stage: the last stage known.
        module: dotted path of the module that was running, where known.
        limit: the limit that was exceeded, in its unit (seconds, bytes, a number).
        stuck: how long, in seconds, the last call out of our code had lasted when last seen; infinite where nothing was seen.
        seconds: how long the probe had run.
        details: tail of the stacks that ``faulthandler`` wrote and of what the model printed.
    """

    reason: Reason
    code: int = 0
    probe: str = ""
    stage: str = ""
    module: str | None = None
    limit: float = 0.0
    stuck: float = 0.0
    seconds: float = 0.0
    details: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Endings with equal keys are of one kind."""
        return self.reason, self.code if self.reason in ("exit", "signal") else 0

    @property
    def costly(self) -> bool:
        """Whether it took long to get here, so that it is not awaited often."""
        return self.hung or self.seconds > _COSTLY

    @property
    def hung(self) -> bool:
        """Whether one call lasted for a third of the deadline or more: waiting for the next probe will not help much."""
        return self.reason == "timeout" and self.stuck >= self.limit / 3


def told(ending: Ending) -> str:
    """What happened to the model's process, as the rest of a sentence that begins with it."""
    match ending.reason:
        case "signal":
            name = _signal(-ending.code)
            meaning = f" ({_MEANINGS[name]})" if name in _MEANINGS else ""
            cause = "; nothing of ours sent it: perhaps the kernel, short of memory" if name == "SIGKILL" else ""
            return f"was ended by {name}{meaning}, signal {-ending.code}{cause}"
        case "exit":
            code = "an unknown exit code (it killed its parent process)" if ending.code == UNKNOWN else f"exit code {ending.code}"
            return f"exited with {code} before there was a result"
        case "timeout":
            if ending.hung:
                waited = f"a single call did not return for {ending.stuck:.3g} s; the deadline is {ending.limit:g} s"
                return f"timed out ({waited}) and was stopped"
            return f"timed out (it did not finish within the deadline of {ending.limit:g} s) and was stopped"
        case "memory":
            return f"exceeded the memory limit of {ending.limit / _MIB:.0f} MiB and was stopped"
        case "log":
            return f"printed more than {ending.limit / _MIB:.0f} MiB and was stopped"
        case "processes" | "threads":
            return f"started more than {ending.limit:.0f} {ending.reason} and was stopped"


def as_subject_error(ending: Ending) -> SubjectError:
    """The error of the probe that was running."""
    place = "" if ending.module is None else f" of {ending.module!r}" if ending.module else " of the model itself"
    stage = f"in {ending.stage}{place}" if ending.stage in ("forward", "backward", "step") else f"during the probe {ending.probe}"
    return SubjectError(f"{stage}, the model's process {told(ending)}", stage=ending.stage or ending.probe, module=ending.module,
                        details=ending.details)


class ProcessEnded(TargetError):
    """The import or the first build ended the process: it did not raise."""


def as_target_error(ending: Ending, target: str) -> ProcessEnded:
    """The error of a target whose import or first build ended the process."""
    verb = "imported" if ending.stage == "import" else "built"
    return ProcessEnded(f"the target {target!r} could not be {verb}: its process {told(ending)}", details=ending.details)


def not_run(error: SubjectError, times: int) -> SubjectError:
    """The error of a probe that was left out because those before it all ended the same way."""
    return SubjectError(f"{error} (not run again: the last {times} probes ended this way)", stage=error.stage, module=error.module,
                        details=error.details)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
