"""An exception of the user's as text: type, message, and the line of theirs that raised it; never a second exception."""

import linecache
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

LONGEST_MESSAGE: Final = 2000
LONGEST_DETAILS: Final = 8000
_OURS: Final = str(Path(__file__).resolve().parents[1]) + os.sep
_STANDARD: Final = str(Path(sysconfig.get_paths()["stdlib"])) + os.sep
_FRAMES: Final = 12


def message_of(error: BaseException) -> str:
    """``Type: text`` of an exception whose ``__str__`` may itself raise or be huge."""
    name = kind_of(error)
    text = shown(error)
    return f"{name}: {text}" if text else name


def kind_of(value: object) -> str:
    """The name of an object's type, with its module unless it is built in or a file that was loaded by its path."""
    kind = type(value)
    module = shown(getattr(kind, "__module__", ""), 200)
    name = shown(kind.__qualname__, 200).rpartition("<locals>.")[2]
    return name if module in ("builtins", "__main__") or module.startswith("_") else f"{module}.{name}"


def shown(value: Any, longest: int = LONGEST_MESSAGE) -> str:
    """``str(value)``, cut to ``longest`` characters; ``<unprintable>`` where it raises."""
    try:
        text = str(value)
        return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
    except BaseException:  # the user's __str__ may raise anything, SystemExit included
        return "<unprintable>"


def location_of(error: BaseException) -> str | None:
    """``file:line`` of the user's code that raised, the deepest frame that is neither ours, torch's nor the library's."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    frames = list(_frames(error.__traceback__))
    theirs = [(file, line) for file, line, _ in frames if not file.startswith(_STANDARD)]
    chosen = theirs or [(file, line) for file, line, _ in frames]
    return f"{chosen[-1][0]}:{chosen[-1][1]}" if chosen else None


def details_of(error: BaseException) -> str:
    """The last frames of the traceback without our own, then the message: data of the user's."""
    frames = list(_frames(error.__traceback__))
    lines = [f"... {len(frames) - _FRAMES} frames before" for _ in frames[_FRAMES : _FRAMES + 1]]
    for file, line, name in frames[-_FRAMES:]:
        lines.append(f'File "{file}", line {line}, in {name}')
        source = linecache.getline(file, line).strip()
        lines += [f"    {source[:200]}"] if source else []
    return shown("\n".join([*lines, message_of(error)]), LONGEST_DETAILS)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith((_OURS, "<frozen ")):
            yield code.co_filename, traceback.tb_lineno, code.co_name
        traceback = traceback.tb_next
