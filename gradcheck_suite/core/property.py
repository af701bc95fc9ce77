"""Property: one true statement as data: its conditions, level, measurement, sources and controls."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.evidence import Evidence, Level

Measured: TypeAlias = Evidence | Iterable[Evidence]


class NoFailure(str):
    """An unmet condition that is good news: what the property would explain is not there. A remedy that brings it about helps."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One statement about gradients.

    A property file ends with ``PROPERTY = Property(measure=..., ...)``; the catalogue fills ``id``, ``family``,
    ``statement`` and ``sections`` from the file's path and docstring.

    Attributes:
        measure: takes captures, each parameter named after the probe that makes it, and returns one ``Evidence`` or one
            per place. It may raise ``NotApplicable`` with the unmet condition as a fact.
        conditions: functions of captures (parameters named likewise) that return ``None`` where the condition is met and
            the unmet condition, as a fact about this subject, where it is not. Asked before ``measure``.
        level: ``REQUIREMENT`` or ``INDICATOR``; an ``Evidence`` may override it.
        symptoms: the words people search for ("vanishing gradients"), also accepted by ``--select``.
        remedies: ids of remedies worth trying when violated, the most promising first.
        remeasure: takes evidence that ``measure`` made and captures of the subject with a remedy applied, where that no longer meets
            the conditions; returns the same quantity there against the same bounds, or ``None`` where it has no such quantity.
        holds_for: architectures for which the statement must be found to hold.
        fails_for: architectures (with planted defects or unfit initialisations) for which it must be found violated.
        domain: keyword arguments of ``gradcheck_suite.architectures.strategies.architectures`` that restrict what
            ``gradcheck search`` draws for this property to where its conditions can hold; ``None`` (the default): it is not searched.
        stochastic: whether a true statement may be found violated by chance, at a rate of at most ``Budget.alpha``.
    """

    measure: Callable[..., Measured]
    level: Level = Level.REQUIREMENT
    conditions: tuple[Callable[..., str | None], ...] = ()
    symptoms: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    remeasure: Callable[..., Evidence | None] | None = None
    holds_for: tuple[Architecture, ...] = ()
    fails_for: tuple[Architecture, ...] = ()
    domain: dict[str, Any] | None = None
    stochastic: bool = False
    id: str = ""
    family: str = ""
    statement: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    source_file: str = ""

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the probes whose captures the conditions and the measurement take, conditions first."""
        functions: list[Callable[..., Any]] = [*self.conditions, self.measure]
        return tuple(dict.fromkeys(name for function in functions for name in parameters(function)))

    @property
    def name(self) -> str:
        """``family/id``, as printed by ``gradcheck list``."""
        return f"{self.family}/{self.id}"

    def filled(self, **facts: Any) -> "Property":
        """A copy with the facts that the catalogue reads from path and docstring."""
        return replace(self, **facts)


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """The parameter names of a function, in order."""
    return tuple(inspect.signature(function).parameters)
