"""Limits of a child process: every number of the containment, in one place."""

import os
from dataclasses import dataclass, field
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30


def memory_of_this_machine() -> int:
    """A fifth of the physical memory, but from 2 to 32 GiB: room for a run on every core of a small machine."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        import psutil

        physical = int(psutil.virtual_memory().total)
    return min(max(physical // 5, 2 * GIB), 32 * GIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one child may use.

    Attributes:
        seconds: deadline of the import, of the build, and of each probe; ``None`` takes the budget's.
        memory: resident memory of the child and what it started, in bytes; also a bound on one allocation.
        log: bytes that one probe may print before the child is ended. The log on disk is cut whenever it is found larger than
            ``log_kept``, so this bounds time, not space: 128 draws of a model that prints 50 MB each stay below it.
        log_kept: size at which the log file is cut to its tail, in bytes.
        processes: processes that it may have started and left running.
        threads: threads of the child.
        startup: deadline of the fork server's own start (it imports torch), in seconds.
        repeats: how often the same ending in the same place is awaited before the remaining probes are not run.
    """

    seconds: float | None = None
    memory: int = field(default_factory=memory_of_this_machine)
    log: int = 8 * GIB
    log_kept: int = 4 * MIB
    processes: int = 200
    threads: int = 1000
    startup: float = 120.0
    repeats: int = 3
