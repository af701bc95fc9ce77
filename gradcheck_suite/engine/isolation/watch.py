"""A child's limits, watched from outside: time, memory, output, processes, threads."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Final

from gradcheck_suite.engine.isolation.endings import Ending
from gradcheck_suite.engine.isolation.limits import Limits
from gradcheck_suite.engine.isolation.surroundings import LOG

_EVERY: Final = 0.05
_TREE_EVERY: Final = 0.5
_TAIL: Final = 4000
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Watch:
    """What one child uses."""

    def __init__(self, pid: int, folder: Path, limits: Limits) -> None:
        self._pid, self._log, self._limits = pid, folder / LOG, limits
        self._looked = self._looked_at_tree = 0.0
        self._size = self._seen = self._before = 0
        self._since = 0.0

    def exceeded(self, since: float, seconds: float) -> Ending | None:
        """The first limit found exceeded; ``since`` is when the deadline of ``seconds`` began."""
        now = time.monotonic()
        if since != self._since:  # what a probe may print is counted anew for each
            self._since, self._before = since, self._printed()
        if now - since > seconds:
            return Ending(reason="timeout", limit=seconds)
        if now - self._looked < _EVERY:
            return None
        self._looked = now
        if self._printed() - self._before > self._limits.log:
            return Ending(reason="log", limit=self._limits.log)
        if private_memory(self._pid) > self._limits.memory:
            return Ending(reason="memory", limit=self._limits.memory)
        if now - self._looked_at_tree > _TREE_EVERY:
            self._looked_at_tree = now
            return self._tree()
        return None

    def exists(self) -> bool:
        """Whether a process with that id is there; asked only where nobody can wait for it."""
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True

    def _printed(self) -> int:
        """Bytes printed so far; a log that grew too large is cut to its tail, which appending writers do not notice."""
        with contextlib.suppress(OSError):
            size = self._log.stat().st_size
            self._seen += size - self._size
            self._size = size
            if size > self._limits.log_kept:
                tail = tail_of(self._log)
                os.truncate(self._log, 0)
                with open(self._log, "ab") as file:
                    self._size = file.write(f"{tail}\n[cut: {self._seen} bytes were printed so far]\n".encode("utf-8", "backslashreplace"))
        return self._seen

    def _tree(self) -> Ending | None:
        import psutil

        try:
            process = psutil.Process(self._pid)
            if process.num_threads() > self._limits.threads:
                return Ending(reason="threads", limit=self._limits.threads)
            below = process.children(recursive=True)
        except psutil.Error:
            return None
        if len(below) > self._limits.processes:
            return Ending(reason="processes", limit=self._limits.processes)
        if private_memory(self._pid) + sum(private_memory(one.pid) for one in below) > self._limits.memory:
            return Ending(reason="memory", limit=self._limits.memory)
        return None


def private_memory(pid: int) -> int:
    """Resident bytes of a process that are its own: neither libraries nor files; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    except (OSError, ValueError, IndexError):
        pass
    if os.path.isdir("/proc/self"):
        return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def tail_of(path: Path, size: int = _TAIL) -> str:
    """The end of a text file that may be binary, huge or missing."""
    try:
        with open(path, "rb") as file:
            length: Any = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - size))
            return file.read(size).decode("utf-8", "backslashreplace").strip()
    except OSError:
        return ""
