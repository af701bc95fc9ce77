"""Sources of captures: what the engine asks, whether the probes run in this process or in children."""

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError, TargetError, UsageError
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.engine.isolation.limits import Limits
from gradcheck_suite.subject import Subject

__all__ = ["CaptureSource", "ChildSource", "Limits", "LocalSource", "RemediableSource"]

if TYPE_CHECKING:
    from gradcheck_suite.engine.isolation.endings import Ending
    from gradcheck_suite.engine.isolation.jobs import Resolvable
    from gradcheck_suite.engine.isolation.parent import Child

_SECOND_CHANCE: Final = 12
_LEAST_CHANCE: Final = 0.5
_WORTH_TRACING: Final = 10.0
_FRUITLESS: Final = 3


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


@runtime_checkable
class RemediableSource(CaptureSource, Protocol):
    """A source whose subject can be changed by a remedy."""

    def remedied(self, remedy: str) -> CaptureSource:
        """A source of captures of the changed subject, with this source's seeds. The subject itself stays as it is.

        Its ``facts`` raise ``NotApplicable`` where the remedy has nothing to change, ``SubjectError`` where it fails.
        """


_Error = NotApplicable | SubjectError | UsageError


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
        if isinstance(outcome, _Error):
            raise outcome
        return outcome

    def prefetch(self, probes: Sequence[str]) -> None:
        """See ``CaptureSource.prefetch``: nothing to save in one process."""

    def close(self) -> None:
        """See ``CaptureSource.close``."""
        self._outcomes.clear()

    def remedied(self, remedy: str) -> "LocalSource":
        """See ``RemediableSource.remedied``."""
        from gradcheck_suite.remedies import remedied

        return LocalSource(remedied(self._subject, remedy), self._budget, self._seed)

    def _first_build(self) -> SubjectFacts:
        from gradcheck_suite.engine.isolation.ambient import facts_of

        setup = self._subject.setup(derive(self._seed, self._subject.name, "facts"))
        parameters, modules = facts_of(setup.model)
        return SubjectFacts(name=self._subject.name, target=self._subject.target, parameters=parameters, modules=modules)

    def _run(self, name: str) -> Any:
        from gradcheck_suite.engine.isolation.blame import REPEATING, explained, subject_error
        from gradcheck_suite.probes import probe

        experiment = probe(name)
        seed = derive(self._seed, self._subject.name, name)
        try:
            return self._guarded(lambda: experiment(self._subject, self._budget, seed))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a model may raise anything, SystemExit included
            found = subject_error(error, name)
            return explained(found, lambda: self.capture(REPEATING)) if name != REPEATING else found

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """``work()``, after which the process and the caller's own model are as they were."""
        from gradcheck_suite.engine.isolation.ambient import ambient_restored
        from gradcheck_suite.probes.state import preserved

        instance = self._subject.instance
        with ambient_restored(), preserved(instance) if instance is not None else contextlib.nullcontext():
            return work()


class ChildSource:
    """Captures made in child processes: whatever the model does to its process is an error of the probe that was running.

    One child imports the target and runs the probes it is asked for; when it ends, the remaining probes go on in a new one.
    The same ending again and again (``Limits.repeats`` times; twice where it takes long; after a hang the deadline is a twelfth)
    is taken as the model's answer to the remaining probes, which are then not run and say so.
    """

    def __init__(self, target: "Resolvable", options: Any, budget: Budget, seed: int, limits: Limits | None = None) -> None:
        from gradcheck_suite.engine.isolation.parent import Order

        self._order = Order(target=target, options=options, budget=budget, seed=seed, limits=limits or Limits())
        self._child: Child | None = None
        self._facts: SubjectFacts | None = None
        self._failed: _Error | None = None
        self._outcomes: dict[str, Any] = {}
        self._endings: list[Ending] = []

    @property
    def facts(self) -> SubjectFacts:
        """See ``CaptureSource.facts``."""
        if self._facts is None and self._failed is None:
            self._started()
        if self._facts is None:
            assert self._failed is not None
            raise self._failed
        return self._facts

    def capture(self, probe: str) -> Any:
        """See ``CaptureSource.capture``."""
        assert self.facts
        if probe not in self._outcomes:
            self.prefetch([probe])
        outcome = self._outcomes[probe]
        if isinstance(outcome, _Error):
            raise outcome
        return outcome

    def prefetch(self, probes: Sequence[str]) -> None:
        """See ``CaptureSource.prefetch``; where a remedy is applied, the process ends with it."""
        try:
            self._fetch(probes)
        finally:
            if self._order.remedy:
                self._rest()

    def _fetch(self, probes: Sequence[str]) -> None:
        fruitless = 0
        while pending := [probe for probe in dict.fromkeys(probes) if probe not in self._outcomes]:
            if self._left_out(pending):
                return
            child = self._started()
            outcomes, ending = ({}, None) if child is None else child.run(pending)
            self._outcomes.update(outcomes)
            if ending is not None:
                self._ended(ending)
            fruitless = 0 if outcomes or (ending is not None and ending.probe) else fruitless + 1
            if child is None or fruitless >= _FRUITLESS:
                self._outcomes.update(dict.fromkeys(pending, self._lost()))

    def _lost(self) -> _Error:
        """The error of probes for which no child could be had, although one could before."""
        if self._failed is None:
            return SubjectError("the model's process ended again and again before it could be given work", stage="build")
        return SubjectError(str(self._failed), stage="build", details=getattr(self._failed, "details", ""))

    def close(self) -> None:
        """See ``CaptureSource.close``."""
        self._rest()
        self._outcomes.clear()

    def _rest(self) -> None:
        """End the process; the next probe starts another."""
        if self._child is not None:
            self._child.close()
        self._child = None

    def remedied(self, remedy: str) -> "ChildSource":
        """See ``RemediableSource.remedied``; between calls of ``prefetch`` it keeps no process."""
        changed = copy.copy(self)
        changed._order = replace(self._order, remedy=remedy)
        changed._child, changed._facts, changed._failed = None, None, None
        changed._outcomes, changed._endings = {}, []
        return changed

    def _started(self) -> "Child | None":
        """A child that has built the target; ``None`` where that failed (``_failed`` is then the error)."""
        from gradcheck_suite.engine.isolation.endings import ProcessEnded
        from gradcheck_suite.engine.isolation.parent import Child

        if self._child is None:
            hung = bool(self._endings) and self._endings[-1].hung
            self._child = Child(self._order, seconds=self._shortened() if hung else None)
            try:
                self._facts = self._child.facts()
            except (NotApplicable, SubjectError, UsageError) as error:
                self._rest()
                if isinstance(error, ProcessEnded) and getattr(self._order.options, "trial", False):
                    return self._untried()
                self._failed = TargetError(str(error)) if type(error) is UsageError else error
        return self._child

    def _untried(self) -> "Child | None":
        """A child that does not try the inputs first: a model whose forward pass ends the process is a finding of each probe."""
        self._order = replace(self._order, options=replace(self._order.options, trial=False))
        return self._started()

    def _ended(self, ending: "Ending") -> None:
        """Take in the end of the child; the probe that was running has its error."""
        from gradcheck_suite.engine.isolation.endings import as_subject_error

        self._rest()
        if not ending.probe:
            return
        ending = self._placed(ending)
        self._endings.append(ending)
        self._outcomes[ending.probe] = as_subject_error(ending)

    def _placed(self, ending: "Ending") -> "Ending":
        """The ending with its module: from a second, traced run where the first one left no trace of it."""
        from gradcheck_suite.engine.isolation.parent import Child

        if ending.module is not None or (ending.seconds > _WORTH_TRACING and not ending.hung):
            return ending
        child = Child(self._order, seconds=self._shortened() if ending.hung else None, traced=True)
        try:
            child.facts()
            _, again = child.run([ending.probe])
        except UsageError:
            again = None
        finally:
            child.close()
        if again is None or again.key != ending.key:
            return ending
        return replace(ending, module=again.module, stage=ending.stage or again.stage)

    def _shortened(self) -> float:
        """The deadline after a hang, in seconds."""
        return max(self._order.seconds / _SECOND_CHANCE, min(self._order.seconds, _LEAST_CHANCE))

    def _left_out(self, pending: Sequence[str]) -> bool:
        """Give the remaining probes the error of those before, where these all ended in one way."""
        from gradcheck_suite.engine.isolation.endings import as_subject_error, not_run

        if not self._endings:
            return False
        last = self._endings[-1]
        times = 2 if last.costly else self._order.limits.repeats
        recent = self._endings[-times:]
        if len(recent) < times or any(ending.key != last.key for ending in recent):
            return False
        self._outcomes.update(dict.fromkeys(pending, not_run(as_subject_error(last), times)))
        return True
