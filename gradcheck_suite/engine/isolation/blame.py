"""Whose failure an exception is, in which stage and which module: read from the frames of its traceback."""

from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from gradcheck_suite.core.errors import NotApplicable, SubjectError, UsageError
from gradcheck_suite.core.failures import details_of, location_of, message_of, shown

_OURS: Final = str(Path(__file__).resolve().parents[2])
_FORWARD: Final = ("torch/nn/modules/module.py", "_call_impl")
_STAGES: Final = (("torch/autograd/", "backward"), ("torch/_tensor.py", "backward"), ("torch/optim/", "step"))
REPEATING: Final = "repeated_pass"
_INSIDE: Final = "failed inside gradcheck_suite"
_EXHAUSTED: Final = ("can't allocate memory", "out of memory", "Cannot allocate memory")


def subject_error(error: BaseException, probe: str) -> NotApplicable | SubjectError:
    """The error to report for an exception that left a probe.

    Ours pass unchanged, except that a build that fails within a probe (it worked before, for other seeds) is the subject's.
    One of our classes that the subject's own code raised is not ours: a model does not say what applies to it.
    """
    frames = frames_of(error.__traceback__)
    if not frames or is_ours(frames[-1]):
        if isinstance(error, UsageError):
            return SubjectError(str(error), stage="build", details=getattr(error, "details", ""))
        if isinstance(error, NotApplicable | SubjectError):
            return error
    place = location_of(error)
    if place is None:
        return SubjectError(f"the probe {probe} {_INSIDE}: {message_of(error)}", stage=probe, details=details_of(error))
    text = message_of(error)
    said = f"the model ran out of memory: {text}" if isinstance(error, MemoryError) or any(word in text for word in _EXHAUSTED) else \
        f"the model raised {text}"
    return SubjectError(f"{said}, at {place}", stage=stage_of(frames) or probe, module=module_of(frames), details=details_of(error))


def explained(error: NotApplicable | SubjectError, repeat: Callable[[], Any]) -> NotApplicable | SubjectError:
    """The error of a probe, or, where code of ours stumbled over a model that is another one at each pass, that fact.

    ``repeat`` runs the probe ``REPEATING``, which finds out.
    """
    if isinstance(error, SubjectError) and str(error).startswith(f"the probe {error.stage} {_INSIDE}"):
        try:
            repeat()
        except SubjectError as changing:
            return changing
        except NotApplicable:
            pass
    return error


def frames_of(traceback: TracebackType | None) -> list[FrameType]:
    """The frames of a traceback, outermost first."""
    found = []
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return found


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package."""
    return frame.f_code.co_filename.startswith(_OURS)


def stage_of(frames: list[FrameType]) -> str | None:
    """The innermost of forward, backward and step that the frames show."""
    for frame in reversed(frames):
        file = frame.f_code.co_filename.replace("\\", "/")
        if _is_call(frame):
            return "forward"
        for part, stage in _STAGES:
            if part in file:
                return stage
    return None


def module_of(frames: list[FrameType]) -> str | None:
    """Dotted path of the innermost module whose forward was running, from the outermost one; ``None`` where none was."""
    running = [frame.f_locals.get("self") for frame in frames if _is_call(frame)]
    chain: list[Any] = [module for module in running if hasattr(module, "named_modules")]
    if not chain:
        return None
    found = next((path for path, module in chain[0].named_modules() if module is chain[-1]), None)
    return None if found is None else shown(found)


def _is_call(frame: FrameType) -> bool:
    return frame.f_code.co_name == _FORWARD[1] and frame.f_code.co_filename.replace("\\", "/").endswith(_FORWARD[0])
