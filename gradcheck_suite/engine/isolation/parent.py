"""The parent's side of one child: starts it, gives it probes, watches its limits, and tells how it ended."""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gradcheck_suite.captures.codec import BadCapture, decode
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import GradcheckError, SubjectError
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.engine.isolation.endings import UNKNOWN, Ending, as_target_error
from gradcheck_suite.engine.isolation.errors import error_from_data
from gradcheck_suite.engine.isolation.jobs import Job, Resolvable, capture_file, write_command, write_job
from gradcheck_suite.engine.isolation.launch import Launched, ServerLost, launch, search_path
from gradcheck_suite.engine.isolation.limits import Limits
from gradcheck_suite.engine.isolation.records import Reader
from gradcheck_suite.engine.isolation.sampling import sampling_interval
from gradcheck_suite.engine.isolation.stacks import stage_in, users_stacks
from gradcheck_suite.engine.isolation.surroundings import FAULTS, LOG, scrubbed
from gradcheck_suite.engine.isolation.watch import Watch, tail_of
from gradcheck_suite.schema import load

_FIRST_WAIT: Final = 0.001
_LONGEST_WAIT: Final = 0.02
_PATIENCE: Final = 1.1
_LAST_WAIT: Final = 5.0
_STACKS: Final = 40_000
_SILENCE: Final = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What children are started for: a target, how to run it, and within which limits."""

    target: Resolvable
    options: Any
    budget: Budget
    seed: int
    limits: Limits
    remedy: str = ""
    fork: bool | None = None

    @property
    def seconds(self) -> float:
        """Deadline of the import, the build, and each probe."""
        return self.limits.seconds if self.limits.seconds is not None else self.budget.seconds


class Child:
    """One child process, from its start to the removal of its files."""

    def __init__(self, order: Order, *, seconds: float | None = None, traced: bool = False) -> None:
        self._order, self._seconds = order, order.seconds if seconds is None else seconds
        self._nonce = secrets.token_hex(16)
        self._folder = Path(tempfile.mkdtemp(prefix="gradcheck-"))
        self._reader = Reader(self._folder, self._nonce)
        self._commands = 0
        self._state = _State(order.limits.startup, order.seconds, self._seconds)
        job = Job(target=order.target, options=order.options, budget=order.budget, seed=order.seed, nonce=self._nonce,
                  memory=order.limits.memory, environment=scrubbed(os.environ), path=tuple(search_path()), build_seconds=order.seconds,
                  seconds=self._seconds, owner=os.getpid(), traced=traced, remedy=order.remedy)
        write_job(self._folder, job)
        home = type(order.target).__module__.rpartition(".")[0]
        packages = [home] if home.startswith("gradcheck_suite.") else []
        self._launched = launch(self._folder, self._nonce, packages, order.limits.startup, fork=order.fork)
        self._closed = weakref.finalize(self, _end, self._launched, self._folder)
        self._watch = Watch(self._launched.pid, self._folder, order.limits)

    def facts(self) -> SubjectFacts:
        """Wait for the import and the first build.

        Raises:
            TargetError: they failed, or ended the process.
        """
        ending = self._until(lambda: self._state.facts is not None or self._state.failed is not None)
        if self._state.failed is not None:
            raise error_from_data(self._state.failed)
        if ending is not None:
            raise as_target_error(ending, self._order.target.text)
        return load(SubjectFacts, self._state.facts)

    def run(self, probes: Sequence[str]) -> tuple[dict[str, Any], Ending | None]:
        """Run probes one after another: the outcome of each that finished, and how the child ended if it did not last.

        An outcome is a capture, or the error to raise for it.
        """
        number, self._commands = self._commands, self._commands + 1
        write_command(self._folder, number, probes)
        ending = self._until(lambda: self._state.finished >= number)
        outcomes = {probe: self._outcome(probe, said) for probe, said in self._state.done.items()}
        self._state.done = {}
        return outcomes, ending

    def close(self) -> None:
        """End the child and whatever it started; remove its files."""
        self._closed()

    def _until(self, arrived: Callable[[], bool]) -> Ending | None:
        wait = _FIRST_WAIT
        while True:
            code = self._status(wait)
            self._state.take(self._reader.new())
            if arrived():
                return None
            if code is not None:
                return self._ending(Ending(reason="signal" if UNKNOWN < code < 0 else "exit", code=code))
            limit = self._watch.exceeded(self._state.since, self._state.limit) or self._state.hang()
            if limit is not None:
                self._launched.kill()
                self._status(_LAST_WAIT)
                self._state.take(self._reader.new())
                return self._ending(limit)
            wait = min(wait * _PATIENCE, _LONGEST_WAIT)

    def _status(self, wait: float) -> int | None:
        try:
            return self._launched.status(wait)
        except ServerLost:
            time.sleep(min(wait, _LONGEST_WAIT))
            return None if self._watch.exists() else UNKNOWN

    def _ending(self, ending: Ending) -> Ending:
        faults, printed = users_stacks(tail_of(self._folder / FAULTS, _STACKS)), tail_of(self._folder / LOG)
        details = "\n".join(part for part in (faults, f"It printed last:\n{printed}" if printed else "") if part)
        state = self._state
        stage, module, stuck = state.stage, state.module, 0.0
        if ending.reason not in ("exit", "signal"):  # it was running until now: where it was seen last is where it was
            stage, module, stuck = state.seen(self._seconds)
        return replace(ending, probe=state.probe, stage=stage or stage_in(faults), module=module, stuck=stuck, details=details,
                       seconds=time.monotonic() - state.since)

    def _outcome(self, probe: str, said: dict[str, Any]) -> Any:
        if said.get("error") is not None:
            return error_from_data(said["error"])
        try:
            blob = capture_file(self._folder, probe).read_bytes()
            if blob[:32] != self._nonce.encode("ascii"):
                raise BadCapture("not a capture: it does not bear the mark of this run")
            return decode(blob[32:])
        except (OSError, GradcheckError) as error:
            return SubjectError(f"the capture of {probe} could not be read: {error}", stage=probe)


def _end(launched: Launched, folder: Path) -> None:
    """What ``Child.close`` does; also done when a child is forgotten, and when the program ends."""
    launched.kill()
    with contextlib.suppress(ServerLost):
        launched.status(_LAST_WAIT)
    launched.sweep()
    shutil.rmtree(folder, ignore_errors=True)


class _State:
    """What the records of a child have said so far."""

    def __init__(self, startup: float, build_seconds: float, seconds: float) -> None:
        self.since, self.limit = time.monotonic(), startup
        self._build_seconds, self._seconds = build_seconds, seconds
        self.probe, self.stage = "", "import"
        self.module: str | None = None
        self.finished = -1
        self.facts: Any = None
        self.failed: dict[str, Any] | None = None
        self.done: dict[str, dict[str, Any]] = {}
        self._sample: tuple[float, str, str | None, float] | None = None

    def take(self, records: list[dict[str, Any]]) -> None:
        """Fold new records in; each stage and probe starts the deadline anew."""
        for record in records:
            if "sample" in record:
                if record["sample"] == self.probe:
                    self._sample = (time.monotonic(), str(record.get("stage") or ""), record.get("module"), float(record["stuck"]))
            elif "stage" in record:
                self.stage, self.module = str(record["stage"]), record.get("module")
                if not self.probe:
                    self._begin(self._build_seconds)
            elif "probe" in record:
                self.probe, self.stage, self.module = str(record["probe"]), "", None
                self._begin(self._seconds)
            elif "done" in record:
                self.done[str(record["done"])] = record
                self.probe = self.stage = ""
                self.limit = float("inf")
            self.facts = record.get("facts", self.facts)
            self.failed = record.get("failed", self.failed)
            self.finished = record.get("finished", self.finished)

    def seen(self, seconds: float) -> tuple[str, str | None, float]:
        """Stage, module, and for how long one call has lasted. Samples that stopped coming mean that the interpreter is held."""
        last = self.since if self._sample is None else self._sample[0]
        silence = time.monotonic() - last
        if self._sample is None or silence > _SILENCE * sampling_interval(seconds):
            return self.stage, self.module, silence
        _, stage, module, stuck = self._sample
        return stage, module, stuck + silence

    def hang(self) -> Ending | None:
        """A single call of the model that has lasted for half of the deadline: there is no use in waiting for the other half."""
        if not self.probe or time.monotonic() - self.since < self._seconds / 2 or self.seen(self._seconds)[2] < self._seconds / 2:
            return None
        return Ending(reason="timeout", limit=self._seconds)

    def _begin(self, seconds: float) -> None:
        self.since, self.limit, self._sample = time.monotonic(), seconds, None
