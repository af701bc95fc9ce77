"""Lines of the user's code."""

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

import torch

_OURS: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_FOREIGN: Final = (os.path.dirname(os.path.abspath(torch.__file__)) + os.sep, _OURS, "<")
_RUNNER: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "experiment.py")
_WATCHING: Final = tuple(os.path.join(os.path.dirname(_RUNNER), name) for name in ("observation.py", "lifting.py", "lines.py"))
_FUNCTION: Final = (os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), "autograd", "function.py"), "apply")


def users_line() -> str:
    """``file:line`` of the innermost frame of the model's code, ``""`` where there is none before the run's own frame."""
    for frame in _frames():
        if not frame.f_code.co_filename.startswith(_FOREIGN):
            return f"{relative(frame.f_code.co_filename)}:{frame.f_lineno}"
    return ""


def own_line() -> str:
    """The same, ``""`` where the innermost frame that is not PyTorch's is this package's: what it does itself is not the model's doing."""
    watching = True
    for frame in _frames():
        name = frame.f_code.co_filename
        watching = watching and name.startswith(_WATCHING)
        if not watching and name.startswith(_OURS):
            return ""
        if not name.startswith(_FOREIGN):
            return f"{relative(name)}:{frame.f_lineno}"
    return ""


def inside_function() -> bool:
    """Whether a custom ``autograd.Function`` is running: gradients are not recorded in there, whatever it does."""
    return any((frame.f_code.co_filename, frame.f_code.co_name) == _FUNCTION for frame in _frames())


def _frames() -> Iterator[FrameType]:
    """The frames on the stack, the innermost first, as far as the one that runs the experiment."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != _RUNNER:
        yield frame
        frame = frame.f_back


def relative(name: str) -> str:
    """A file name relative to the working folder where it is inside it."""
    return name.removeprefix(os.getcwd() + os.sep)
