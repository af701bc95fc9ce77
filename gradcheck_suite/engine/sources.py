"""Sources of captures: what the engine asks, whether the probes run in this process or in children."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError, TargetError, UsageError
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.subject import Subject


class CaptureSource(Protocol):
    """Captures of one subject, each made once and kept."""

    @property
    def facts(self) -> SubjectFacts:
        """Name, target, number of parameters and modules, known after the first build.

        Raises:
            TargetError: the target could not be imported or built.
        """

    def capture(self, probe: str) -> Any:
        """What that probe saw.

        Raises:
            NotApplicable: the subject does not allow the experiment.
            SubjectError: the subject failed; the same error each time it is asked.
            UsageError: the target or an option is at fault.
        """

    def prefetch(self, probes: Sequence[str]) -> None:
        """Run these probes now, in as few processes as possible; failures are raised by ``capture``."""

    def close(self) -> None:
        """End what was started and remove scratch files."""


class LocalSource:
    """Captures made in this process: no protection against crashes, but debuggers work and nothing is copied."""

    def __init__(self, subject: Subject, budget: Budget, seed: int) -> None:
        self._subject, self._budget, self._seed = subject, budget, seed
        self._facts: SubjectFacts | TargetError | None = None
        self._outcomes: dict[str, Any] = {}

    @property
    def facts(self) -> SubjectFacts:
        """See ``CaptureSource.facts``."""
        if self._facts is None:
            try:
                self._facts = self._guarded(self._first_build)
            except UsageError as error:
                self._facts = error if isinstance(error, TargetError) else TargetError(str(error))
        if isinstance(self._facts, TargetError):
            raise self._facts
        return self._facts

    def capture(self, probe: str) -> Any:
        """See ``CaptureSource.capture``."""
        if probe not in self._outcomes:
            assert self.facts
            self._outcomes[probe] = self._run(probe)
        outcome = self._outcomes[probe]
        if isinstance(outcome, NotApplicable | SubjectError | UsageError):
            raise outcome
        return outcome

    def prefetch(self, probes: Sequence[str]) -> None:
        """See ``CaptureSource.prefetch``: nothing to save in one process."""

    def close(self) -> None:
        """See ``CaptureSource.close``."""
        self._outcomes.clear()

    def _first_build(self) -> SubjectFacts:
        from gradcheck_suite.engine.isolation.ambient import facts_of

        setup = self._subject.setup(derive(self._seed, self._subject.name, "facts"))
        parameters, modules = facts_of(setup.model)
        return SubjectFacts(name=self._subject.name, target=self._subject.target, parameters=parameters, modules=modules)

    def _run(self, name: str) -> Any:
        from gradcheck_suite.engine.isolation.blame import subject_error
        from gradcheck_suite.probes import probe

        experiment = probe(name)
        seed = derive(self._seed, self._subject.name, name)
        try:
            return self._guarded(lambda: experiment(self._subject, self._budget, seed))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a model may raise anything, SystemExit included
            return subject_error(error, name)

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """``work()``, after which the process and the caller's own model are as they were."""
        from gradcheck_suite.engine.isolation.ambient import ambient_restored
        from gradcheck_suite.probes.state import preserved

        instance = self._subject.instance
        with ambient_restored(), preserved(instance) if instance is not None else contextlib.nullcontext():
            return work()
