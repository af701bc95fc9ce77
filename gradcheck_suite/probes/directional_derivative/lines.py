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
_FUNCTION: Final = (os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), "autograd", "function.py"), "apply")


def users_line() -> str:
    """``file:line`` of the innermost frame of the model's code, ``""`` where there is none before the run's own frame."""
    for frame in _frames():
        if not frame.f_code.co_filename.startswith(_FOREIGN):
            return f"{relative(frame.f_code.co_filename)}:{frame.f_lineno}"
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
