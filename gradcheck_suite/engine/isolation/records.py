"""Records: lines of JSON that a child appends to a private file, and that its parent reads while they come."""

import json
import os
from os import close as _close
from os import getpid as _getpid
from os import open as _open
from os import write as _write
from pathlib import Path
from typing import Any, Final

_dumps = json.dumps  # bound before any code of the user's runs
FILE: Final = "records.jsonl"
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
_READ_AT_ONCE: Final = 4 << 20


class Recorder:
    """The child's end. Each record is one ``write`` to a file opened for it, so closed descriptors do not matter.

    A process that the model forked inherits the recorder; it is told apart by its process id and writes nothing.
    """

    def __init__(self, folder: Path, nonce: str) -> None:
        self._path, self._nonce, self._owner = str(folder / FILE), nonce, _getpid()

    @property
    def is_owner(self) -> bool:
        """Whether this process is the one that the recorder was made for."""
        return _getpid() == self._owner

    def write(self, **fields: Any) -> None:
        """Append one record."""
        if not self.is_owner:
            return
        descriptor = _open(self._path, _FLAGS, 0o600)
        try:
            _write(descriptor, (_dumps({"nonce": self._nonce, **fields}) + "\n").encode())
        finally:
            _close(descriptor)


class Reader:
    """The parent's end: whole lines that carry the run's nonce; everything else is ignored."""

    def __init__(self, folder: Path, nonce: str) -> None:
        self._path, self._nonce = folder / FILE, nonce
        self._offset, self._rest = 0, b""

    def new(self) -> list[dict[str, Any]]:
        """Records that came since the last call."""
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:  # the model cut it short: what follows is read, what was there is lost
                    self._offset = 0
                file.seek(self._offset)
                data = file.read(_READ_AT_ONCE)
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for record in map(self._record, lines) if record is not None]

    def _record(self, line: bytes) -> dict[str, Any] | None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or record.pop("nonce", None) != self._nonce:
            return None
        return record
