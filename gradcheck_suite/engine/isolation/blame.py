"""Whose failure an exception is, in which stage and which module: read from its traceback."""

from types import FrameType, TracebackType
from typing import Any, Final

from gradcheck_suite.core.errors import NotApplicable, SubjectError, UsageError
from gradcheck_suite.core.failures import details_of, location_of, message_of

_STAGES: Final = (("torch/nn/modules/module.py", "forward"), ("torch/autograd/", "backward"), ("torch/_tensor.py", "backward"),
                  ("torch/optim/", "step"))


def subject_error(error: BaseException, probe: str) -> NotApplicable | SubjectError | UsageError:
    """The error to report for an exception that left a probe.

    Ours pass unchanged, except that a build that fails within a probe (it worked before, for other seeds) is the subject's.
    """
    if isinstance(error, UsageError):
        return SubjectError(str(error), stage="build", details=getattr(error, "details", ""))
    if isinstance(error, NotApplicable | SubjectError):
        return error
    frames = _frames(error.__traceback__)
    stage, module = _stage(frames), _module(frames)
    details = details_of(error)
    if stage is None and location_of(error) is None:
        return SubjectError(f"the probe {probe} failed inside gradcheck_suite: {message_of(error)}", stage=probe, details=details)
    place = location_of(error)
    return SubjectError(f"the model raised {message_of(error)}" + (f" at {place}" if place else ""), stage=stage or probe, module=module,
                        details=details)


def _frames(traceback: TracebackType | None) -> list[FrameType]:
    found = []
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return found


def _stage(frames: list[FrameType]) -> str | None:
    """The innermost of forward, backward and step that the frames show."""
    for frame in reversed(frames):
        file = frame.f_code.co_filename.replace("\\", "/")
        for part, stage in _STAGES:
            if part in file:
                return stage
    return None


def _module(frames: list[FrameType]) -> str | None:
    """Dotted path of the innermost module whose forward was running, from the outermost one; ``None`` where none was."""
    running = [frame.f_locals.get("self") for frame in frames if frame.f_code.co_name == "_call_impl"]
    chain: list[Any] = [module for module in running if hasattr(module, "named_modules")]
    if not chain:
        return None
    return next((path for path, module in chain[0].named_modules() if module is chain[-1]), None)
