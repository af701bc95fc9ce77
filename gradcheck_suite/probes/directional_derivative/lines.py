"""Lines of the user's code."""

import os
import sys
from types import FrameType
from typing import Final

import torch

_OURS: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_FOREIGN: Final = (os.path.dirname(os.path.abspath(torch.__file__)) + os.sep, _OURS, "<")


def users_line() -> str:
    """``file:line`` of the innermost frame that is neither PyTorch's nor this package's, ``""`` where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_FOREIGN):
            return f"{relative(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def relative(name: str) -> str:
    """A file name relative to the working folder where it is inside it."""
    return name.removeprefix(os.getcwd() + os.sep)
