"""Writing a rendered text to disk, all or nothing."""

import os
from pathlib import Path

from gradcheck_suite.core.errors import UsageError


def write_text(path: Path, text: str) -> Path:
    """Write a file through a temporary one beside it, so that a reader never sees half of it.

    Raises:
        UsageError: the path is a directory or a device, or cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        kind = "a directory" if target.is_dir() else "not a regular file"
        raise UsageError(f"cannot write {str(path)!r}: it is {kind}", allowed="the path of a file", instead=_instead(path))
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        _remove(partial)
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror or error}", allowed="a file in a folder that can be written",
                         instead="Name another path or --output-dir.") from None
    return Path(path)


def _instead(path: Path) -> str:
    return f"Write {str(path / 'report.html')!r}." if path.is_dir() else "Name a file."


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return
