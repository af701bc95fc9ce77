"""What a child is told: one file written by the parent before the child starts, and commands written while it runs."""

import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject

JOB: Final = "job"
END: Final = "end"


class Resolvable(Protocol):
    """What a child makes its subject from: plain data that can be pickled, and knows how to become a subject."""

    @property
    def text(self) -> str:
        """As the user wrote it."""

    def resolve(self, options: Any) -> Subject:
        """Import the user's code and make the subject; called in the child only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One child's work. It travels from parent to child only: a child never sends anything but data back."""

    target: Resolvable
    options: Any
    budget: Budget
    seed: int
    nonce: str
    memory: int
    environment: dict[str, str]
    path: tuple[str, ...]
    build_seconds: float
    seconds: float
    owner: int
    traced: bool = False
    remedy: str = ""


def write_job(folder: Path, job: Job) -> None:
    """Store a job in a new child's folder."""
    (folder / JOB).write_bytes(pickle.dumps(job))


def read_job(folder: Path) -> Job:
    """The job of this child, written by the process that started it."""
    job = pickle.loads((folder / JOB).read_bytes())
    assert isinstance(job, Job)
    return job


def write_command(folder: Path, number: int, probes: Sequence[str] | None) -> None:
    """Tell a child what to run next; ``None`` ends it. The file appears whole or not at all."""
    partial, final = folder / f"command.{number}.part", folder / f"command.{number}"
    partial.write_text(json.dumps(END if probes is None else list(probes)), encoding="ascii")
    os.replace(partial, final)


def read_command(folder: Path, number: int) -> list[str] | None:
    """The probes of that command, ``[]`` where it is not there yet, ``None`` where the child shall end."""
    try:
        told = json.loads((folder / f"command.{number}").read_text(encoding="ascii"))
    except FileNotFoundError:
        return []
    return None if told == END else [str(name) for name in told]


def capture_file(folder: Path, probe: str) -> Path:
    """Where a child puts a capture: the nonce's 32 bytes, then the capture."""
    return folder / f"{probe}.capture"
