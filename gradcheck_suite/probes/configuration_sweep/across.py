"""Across: whether a function is smooth across a point at which its code takes another branch.

A branch such as ``x == 0`` changes with every step away from the point, and so looks like a kink. Where the values on both
sides go on smoothly, the function has a derivative there all the same, and a gradient can be held against it.
"""

import math
from typing import Final

from gradcheck_suite.numerics.differences import Derivative, derivative
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, DISAGREES, Outcome
from gradcheck_suite.probes.directional_derivative.directions import Direction, direction, values_at
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, inner, linearize

_TOLERANCE: Final = 1e-6
_BEYOND: Final = 10.0


def across(experiment: Experiment, draws: Draws) -> Examination | None:
    """A disagreement at the point itself, met along two directions and with two cotangents; ``None`` where there is none to be sure of."""
    experiment.replace()
    found: Examination | None = None
    for _ in range(2):
        linear = linearize(experiment, draws)
        along = direction(experiment, linear, draws)
        outcome = _compared(experiment, linear, along)
        if outcome is None:
            return None
        found = Examination(outcome, linear, along, confirmed=1)
    return found


def _compared(experiment: Experiment, linear: Linearization, along: Direction) -> Outcome | None:
    ladder = _ladder(experiment, linear, along)
    scale = max(along.scale, abs(ladder.value))
    if not all(map(math.isfinite, (along.analytic, ladder.value, ladder.error, ladder.jump_error))):
        return None
    gap, error = abs(along.analytic - ladder.value), 4 * ladder.error + 1e-8 * scale
    bent = abs(ladder.jump) + 4 * ladder.jump_error  # a kink explains no more than the difference of the one-sided slopes
    if gap <= max(error, _BEYOND * bent, _TOLERANCE * scale):
        return None
    return Outcome(DISAGREES, along.analytic, ladder.value, error, along.scale or scale,
                   text="the code takes another branch at this very point, and the function is smooth across it")


def _ladder(experiment: Experiment, linear: Linearization, along: Direction) -> Derivative:
    base = experiment.outputs(graph=True)

    def function(length: float) -> float:
        try:
            values = base if length == 0.0 else values_at(experiment, along, length, graph=True)
            return sum(float(inner(u, values[i] - base[i])) for i, u in zip(linear.live, linear.cotangents, strict=True))
        except FAILURES:
            return math.nan

    return derivative(function, first_step=1e-2, levels=6, magnitude=linear.magnitude)


def special(found: Examination) -> bool:
    """Whether the examination met a kink at the point itself."""
    return found.status == "kink" or (found.status == AGREES and bool(found.kinks))
