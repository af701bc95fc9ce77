"""Budgets: every size of every experiment, in one place."""

from dataclasses import dataclass
from typing import Final

from gradcheck_suite.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much work a run may do.

    Attributes:
        draws: fresh initialisations for a statistic over initialisations.
        examples: architectures drawn by ``gradcheck search`` for each property.
        sweep_calls: configurations of one module that the configuration sweep may try, one change each.
        sweep_pairs: configurations of two changes that Hypothesis may draw besides.
        second_order: whether gradients of gradients are checked for everything that supports them.
        alpha: bound on the false-alarm rate of one stochastic statement.
        training_steps: steps of the short training probe.
        seconds: deadline of one probe in a child process, in seconds.
        directions: random directions along which a hand-written gradient is compared at one place.
        remedies: remedies tried for one violated finding.
    """

    name: str
    draws: int
    examples: int
    sweep_calls: int
    second_order: bool
    training_steps: int
    seconds: float
    alpha: float = 1e-6
    directions: int = 2
    sweep_pairs: int = 0
    remedies: int = 3


BUDGETS: Final = {
    "quick": Budget(name="quick", draws=8, examples=10, sweep_calls=0, second_order=False, training_steps=20, seconds=60.0,
                    directions=1, remedies=0),
    "standard": Budget(name="standard", draws=32, examples=20, sweep_calls=72, second_order=False, training_steps=100, seconds=60.0),
    "thorough": Budget(name="thorough", draws=128, examples=400, sweep_calls=240, second_order=True, training_steps=100, seconds=600.0,
                       directions=4, sweep_pairs=60),
}


def budget(name: str) -> Budget:
    """The budget of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in BUDGETS:
        raise UsageError(f"unknown budget {name!r}", allowed=", ".join(BUDGETS), instead="Write --budget standard.")
    return BUDGETS[name]
