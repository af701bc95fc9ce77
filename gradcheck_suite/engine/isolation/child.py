"""The child: settles, imports the user's code, and runs the probes it is told to, until it is told to end."""

import contextlib
import faulthandler
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable
from os import _exit as _leave
from pathlib import Path
from time import sleep as _sleep
from typing import Any, Final

from gradcheck_suite.captures.codec import encode
from gradcheck_suite.core.errors import NotApplicable, SubjectError, TargetError, UsageError
from gradcheck_suite.core.failures import details_of, message_of
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.engine.isolation.blame import subject_error
from gradcheck_suite.engine.isolation.errors import error_to_data
from gradcheck_suite.engine.isolation.jobs import Job, capture_file, read_command, read_job
from gradcheck_suite.engine.isolation.records import Recorder
from gradcheck_suite.engine.isolation.sampling import Sampler, trace
from gradcheck_suite.engine.isolation.surroundings import settle, watch_faults
from gradcheck_suite.engine.sources import LocalSource
from gradcheck_suite.subject import Subject

_POLL: Final = 0.002
_MARGIN: Final = 0.8


def preload(packages: Iterable[str]) -> None:
    """Import what every child needs, so that a forked one has it; no tensor operation may run here."""
    import torch._dynamo
    import torch.fx.experimental.symbolic_shapes  # noqa: F401  (torch imports these in the first backward pass and the first optimiser)

    for name in packages:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}."):
            importlib.import_module(found.name)


def main(folder: Path) -> None:
    """Run one job to its end and leave at once: no exit handler, no waiting for the model's threads."""
    job = read_job(folder)
    recorder = Recorder(folder, job.nonce)
    try:
        settle(folder, job.environment, job.memory, job.nonce)
        faults = watch_faults(folder)
        sys.path[:] = job.path
        _threads()
        Worker(folder, job, recorder, faults).run()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            recorder.write(broken=message_of(error), details=details_of(error))
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    _leave(0)


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # there, os.kill ends the process whatever the signal
        import psutil

        return bool(psutil.pid_exists(process))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _threads() -> None:
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)


class Worker:
    """A child's loop: a subject, the probes asked of it, their captures as files, a record of each step."""

    def __init__(self, folder: Path, job: Job, recorder: Recorder, faults: Any) -> None:
        self._folder, self._job, self._recorder, self._faults = folder, job, recorder, faults
        self._sampler = Sampler(recorder.write, job.seconds)

    def run(self) -> None:
        """Import, build, then commands until the end or until the process that gives them is gone."""
        source = self._open()
        number = 0
        while source is not None and self._recorder.is_owner:
            probes = read_command(self._folder, number)
            if probes is None or not (probes or _alive(self._job.owner)):
                break
            for probe in probes:
                self._probe(source, probe)
            if probes:
                self._recorder.write(finished=number)
                number += 1
            else:
                _sleep(_POLL)
        self._recorder.write(end=True)

    def _open(self) -> LocalSource | None:
        self._recorder.write(stage="import")
        self._arm(self._job.build_seconds)
        try:
            os.chdir(self._folder / "scratch")
            subject = self._subject()
            self._recorder.write(stage="build")
            self._arm(self._job.build_seconds)
            source = LocalSource(subject, self._job.budget, self._job.seed)
            facts = source.facts
        except BaseException as error:
            if not isinstance(error, UsageError | NotApplicable | SubjectError if self._job.remedy else UsageError):
                error = TargetError(f"the target {self._job.target.text!r} failed: {message_of(error)}", details=details_of(error))
            self._recorder.write(failed=error_to_data(error))
            return None
        finally:
            faulthandler.cancel_dump_traceback_later()
        if self._job.traced:
            trace(self._recorder.write)
        self._recorder.write(facts=to_data(facts))
        return source

    def _subject(self) -> Subject:
        subject = self._job.target.resolve(self._job.options)
        if not self._job.remedy:
            return subject
        from gradcheck_suite.remedies import remedied

        return remedied(subject, self._job.remedy)

    def _probe(self, source: LocalSource, probe: str) -> None:
        self._recorder.write(probe=probe)
        self._arm(self._job.seconds)
        self._sampler.watch(probe)
        outcome: dict[str, Any]
        try:
            blob = encode(source.capture(probe))
            if not self._recorder.is_owner:
                _leave(0)
            partial = capture_file(self._folder, f".{probe}")
            partial.write_bytes(self._job.nonce.encode("ascii") + blob)
            os.replace(partial, capture_file(self._folder, probe))
            outcome = {"done": probe}
        except (NotApplicable, SubjectError, UsageError) as error:
            outcome = {"done": probe, "error": error_to_data(error)}
        except BaseException as error:
            outcome = {"done": probe, "error": error_to_data(subject_error(error, probe))}
        finally:
            self._sampler.watch("")
            faulthandler.cancel_dump_traceback_later()
        self._recorder.write(**outcome)

    def _arm(self, seconds: float) -> None:
        """Have all stacks written shortly before the deadline, from a thread that needs no interpreter lock."""
        faulthandler.dump_traceback_later(seconds * _MARGIN, file=self._faults)
