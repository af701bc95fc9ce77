"""Comparison: one directional derivative by backprop against differences, from the quick look to the proof.

Quick: two runs at one step; agreement of two independent numbers is its own error bound. On disagreement, never a verdict at
once: branch signatures look for a smooth piece around the point, a ladder of steps gives the derivative there with its
error, and only a gap beyond four times that error, and beyond what the arithmetic inside can resolve, is a disagreement.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from gradcheck_suite.numerics.differences import DOUBLE, Derivative, derivative
from gradcheck_suite.probes.directional_derivative.circumstances import observed
from gradcheck_suite.probes.directional_derivative.directions import Direction, central
from gradcheck_suite.probes.directional_derivative.experiment import Experiment, Linearization
from gradcheck_suite.probes.directional_derivative.observation import Seen
from gradcheck_suite.probes.directional_derivative.signatures import Kink, smooth_step
from gradcheck_suite.probes.directional_derivative.slope import Slope

__all__ = ["AGREES", "ALONE", "DISAGREES", "IN_PLACE", "KINK", "NOISE", "NOTHING", "RESOLUTION", "TOLERANCE",
           "Look", "Outcome", "at_the_point",
           "compare", "glance", "observed", "settle"]

AGREES, DISAGREES, KINK, NOISE, NOTHING = "agrees", "disagrees", "kink", "noise", "nothing"
TOLERANCE: Final = 1e-8
RESOLUTION: Final = 1e-6
_NEGLIGIBLE: Final = 1e-5
_GROWTH: Final = 4.0
_ILL_CONDITIONED: Final = 1e5
_DOUBT: Final = 10.0  # plateaus of a narrow type can fool the estimate of an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How to look quickly: the steps to try in turn, and the relative gap that counts as agreement.

    ``harder``: whether gradients written by hand are looked at harder, tensor by tensor.
    """

    steps: tuple[float, ...] = (6e-6, 2e-7, 2e-4)
    tolerance: float = TOLERANCE
    harder: bool = True


ALONE: Final = Look()
IN_PLACE: Final = Look(steps=(1e-6, 1e-7, 1e-8), tolerance=4e-7, harder=False)


@dataclass(slots=True)
class Outcome:
    """What came of one comparison.

    ``analytic`` and ``numeric`` are directional derivatives; ``error`` a bound on the error of their difference and ``scale``
    the size of what is added up in them (at least 1e-5 of the
    outputs' size, below which nothing can be resolved), all in the same unit. ``step`` is the largest step used in the proof, ``kink`` the
    choice that stands in the way of a larger one, ``seen`` what else a run showed.
    """

    status: str
    analytic: float = math.nan
    numeric: float = math.nan
    error: float = math.inf
    scale: float = 0.0
    step: float = 0.0
    kink: Kink | None = None
    seen: Seen = field(default_factory=Seen)
    nonfinite: bool = False
    repeats: bool = True
    text: str = ""

    @property
    def gap(self) -> float:
        """Analytic minus numeric."""
        return self.analytic - self.numeric


def glance(experiment: Experiment, linear: Linearization, along: Direction, look: Look) -> Outcome | None:
    """Agreement at one of the quick steps, or ``None``."""
    for step in look.steps:
        numeric = central(experiment, linear, along, step)
        gap, allowed = abs(numeric - along.analytic), look.tolerance * along.scale
        if gap > allowed and gap <= 0.2 * RESOLUTION * along.scale:
            allowed += min(8 * DOUBLE * linear.magnitude / step, 0.1 * RESOLUTION * along.scale)  # rounding of the outputs
        if gap <= allowed:
            return Outcome(AGREES, along.analytic, numeric, allowed, along.scale, step)
    return None


def compare(experiment: Experiment, linear: Linearization, along: Direction, look: Look) -> Outcome:
    """The quick look, and what follows where it does not agree."""
    found = glance(experiment, linear, along, look)
    return found if found is not None else settle(experiment, linear, along, look)


def settle(experiment: Experiment, linear: Linearization, along: Direction, look: Look) -> Outcome:
    """The proof along one direction: smooth piece, ladder of steps, and a bound on every error."""
    slope = Slope(experiment, linear, along)
    seen = observed(experiment)
    if not math.isfinite(along.analytic):
        return _nonfinite(slope, along, seen)
    step, kink = smooth_step(slope.running)
    floor = max(look.tolerance * along.scale, 0.0)
    if step is None:
        return Outcome(KINK, along.analytic, math.nan, math.inf, along.scale, 0.0, kink, seen, repeats=slope.repeats)
    coarse = seen.roundoff > DOUBLE and slope.shows_narrow_numbers(step)
    if not coarse:
        seen.roundoff, seen.kept, seen.narrow = DOUBLE, seen.narrow, ""
    outcome = Outcome(NOISE)
    ladders = ((max(min(step, 0.125), 1e-3), 5),) if coarse else ((min(step, 0.125), 9), (min(step, 1e-6), 6), (min(step, 1e-10), 6))
    for first, levels in ladders:
        ladder = derivative(slope, first_step=first, levels=levels, magnitude=linear.magnitude, roundoff=seen.roundoff, enough=0.01 * floor)
        outcome = _judged(ladder, slope, Outcome(NOISE, along.analytic, ladder.value, math.inf, along.scale, step, kink, seen), floor)
        if outcome.status == DISAGREES and not coarse:
            outcome.text = slope.unsettled(ladder, outcome.error)
            outcome.status, outcome.error = (NOISE, math.inf) if outcome.text else (DISAGREES, outcome.error)
        if outcome.status in (AGREES, DISAGREES):
            break
    if outcome.status == DISAGREES:
        outcome.error += 8 * slope.wobble()
        if abs(outcome.gap) <= outcome.error:
            outcome.status = NOISE
    if outcome.status == NOISE and not coarse:
        condition = slope.conditioning()
        if condition > _ILL_CONDITIONED:
            outcome.text = f"ill-conditioned: a small relative change of the numbers changes the outputs {condition:.0e} times as much"
    return outcome


def at_the_point(experiment: Experiment, linear: Linearization, along: Direction) -> Outcome:
    """The proof at a point where choices change, by the values alone: wrong if the slope is the same on both sides and another.

    Two equal largest entries change hands with every step, and their log-sum-exp is smooth all the same.
    """
    slope, outcome = Slope(experiment, linear, along), Outcome(KINK, along.analytic, scale=along.scale)
    ladder = derivative(slope, magnitude=linear.magnitude)
    size = max(along.scale, abs(ladder.value))
    even = ladder.jump_error <= RESOLUTION * size and abs(ladder.jump) <= 4 * ladder.jump_error
    if even and math.isfinite(along.analytic) and ladder.error <= RESOLUTION * size:
        outcome.numeric, outcome.error = ladder.value, max(4 * ladder.error, TOLERANCE * size)
        if abs(outcome.gap) > outcome.error and slope.repeats and not slope.unsettled(ladder, outcome.error):
            outcome.status, outcome.text = DISAGREES, "choices change at the given point, yet the slope is the same on both sides"
    return outcome


def _judged(ladder: Derivative, slope: Slope, outcome: Outcome, floor: float) -> Outcome:
    """Put the status to the numbers of a ladder of steps on a smooth piece."""
    outcome.repeats = slope.repeats
    if not math.isfinite(ladder.value) or not math.isfinite(ladder.error):
        outcome.status, outcome.text = KINK, "the function is not defined on both sides of the point"
        return outcome
    narrow = outcome.seen.roundoff > DOUBLE
    arithmetic = 32 * outcome.seen.roundoff * max(outcome.scale, abs(ladder.value)) if narrow else 0.0
    outcome.error = max(4 * (ladder.error + arithmetic + 8 * DOUBLE * ladder.secant), floor)
    size = max(outcome.scale, abs(ladder.value), _NEGLIGIBLE * max(slope.linear.magnitude, ladder.secant))
    if abs(outcome.gap) > outcome.error:
        if ladder.kinked:
            outcome.status, outcome.text = KINK, "the one-sided slopes differ, at an operation whose choices cannot be watched"
        else:
            certain = slope.repeats and (not narrow or abs(outcome.gap) > _DOUBT * outcome.error)
            outcome.status = DISAGREES if certain else NOISE
    elif outcome.error <= RESOLUTION * size:
        outcome.status = AGREES
        outcome.scale = max(outcome.scale, size)
    if outcome.status not in (AGREES, DISAGREES) and abs(outcome.gap) > outcome.error:
        outcome.error = math.inf
    return outcome


def _nonfinite(slope: Slope, along: Direction, seen: Seen) -> Outcome:
    """A gradient with entries that are not finite: wrong where the function has bounded slopes there, on whatever side."""
    if slope.not_finite():
        return Outcome(NOTHING, seen=seen, nonfinite=True, text="the numbers there are not finite to begin with")
    restricted = slope.only_nonfinite()
    slopes = [abs(restricted(sign * step)) / step for step in (1e-4, 1e-6) for sign in (1.0, -1.0)]
    outcome = Outcome(KINK, along.analytic, restricted.central(1e-6), math.inf, along.scale, 1e-6, None, seen, nonfinite=True)
    if not all(map(math.isfinite, slopes)):
        outcome.text = "the gradient is not finite, at the edge of the function's domain"
    elif max(slopes[2:]) > _GROWTH * max(slopes[:2]) + 1e3 * slope.linear.magnitude:
        outcome.text = "the gradient is not finite and the slope grows without bound towards the point"
    else:
        outcome.status, outcome.error = DISAGREES, 0.0
        outcome.text = "the gradient is not finite where the function has a finite slope"
    return outcome
