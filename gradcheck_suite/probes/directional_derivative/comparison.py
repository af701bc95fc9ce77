"""Comparison: one directional derivative by backprop against differences, from the quick look to the proof.

Quick: two runs at one step; agreement of two independent numbers is its own error bound. On disagreement, never a verdict at
once: branch signatures look for a smooth piece around the point, a ladder of steps gives the derivative there with its
error, and only a gap beyond four times that error, and beyond what the arithmetic inside can resolve, is a disagreement.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch

from gradcheck_suite.numerics.differences import DOUBLE, Derivative, derivative, measured_noise
from gradcheck_suite.probes.directional_derivative.directions import Direction, central, direction, values_at
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, inner, linearize
from gradcheck_suite.probes.directional_derivative.observation import ROUNDOFF, Observation, Seen
from gradcheck_suite.probes.directional_derivative.signatures import Kink, smooth_step

AGREES, DISAGREES, KINK, NOISE, NOTHING = "agrees", "disagrees", "kink", "noise", "nothing"
TOLERANCE: Final = 1e-8
RESOLUTION: Final = 1e-6
_NEGLIGIBLE: Final = 1e-5
_GROWTH: Final = 4.0
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
    slope = _Slope(experiment, linear, along)
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
    for first, levels in ((max(min(step, 0.125), 1e-3), 5),) if coarse else ((min(step, 0.125), 9), (min(step, 1e-6), 6)):
        ladder = derivative(slope, first_step=first, levels=levels, magnitude=linear.magnitude, roundoff=seen.roundoff, enough=0.01 * floor)
        outcome = _judged(ladder, slope, Outcome(NOISE, along.analytic, ladder.value, math.inf, along.scale, step, kink, seen), floor)
        if outcome.status in (AGREES, DISAGREES):
            break
    if outcome.status == DISAGREES:
        outcome.error += 8 * wobble(experiment, linear, along)
        if abs(outcome.gap) <= outcome.error:
            outcome.status = NOISE
    return outcome


def wobble(experiment: Experiment, linear: Linearization, along: Direction) -> float:
    """How much the analytic directional derivative moves when every number moves by a few units in the last place.

    That is the error an ill-conditioned backward pass makes by itself. Zero where equal runs give unequal gradients: a
    backward pass that is random is wrong, not ill-conditioned.
    """
    if _again(experiment, linear, along) != along.analytic:
        return 0.0
    places = [tensor.data for tensor in experiment.tensors]
    largest, draws = 0.0, Draws(len(places))
    try:
        for _ in range(2):
            for tensor, value in zip(experiment.tensors, places, strict=True):
                tensor.data = value + value * draws.like(value) * (4 * DOUBLE)
            largest = max(largest, abs(_again(experiment, linear, along) - along.analytic))
    finally:
        for tensor, value in zip(experiment.tensors, places, strict=True):
            tensor.data = value
    return largest if math.isfinite(largest) else 0.0


def _again(experiment: Experiment, linear: Linearization, along: Direction) -> float:
    """The analytic directional derivative of a fresh run with the same cotangents and direction."""
    again = linearize(experiment, Draws(0), linear.cotangents)
    total = 0.0
    for position, vector, step in zip(along.positions, along.vectors, along.steps, strict=True):
        gradient = again.gradients[position]
        total += 0.0 if gradient is None else step * float(inner(gradient, vector))
    return total


def _judged(ladder: Derivative, slope: "_Slope", outcome: Outcome, floor: float) -> Outcome:
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


def _nonfinite(slope: "_Slope", along: Direction, seen: Seen) -> Outcome:
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


class _Slope:
    """Σ<u, f(t) - f(0)> as a function of the distance t, evaluated in the grad mode of training."""

    def __init__(self, experiment: Experiment, linear: Linearization, along: Direction) -> None:
        self.experiment, self.linear, self.along = experiment, linear, along
        self.base = experiment.outputs(graph=True)
        again = experiment.outputs(graph=True)
        self.repeats = len(again) == len(self.base) and all(_equal(a, b) for a, b in zip(again, self.base, strict=True))

    def __call__(self, length: float) -> float:
        if length == 0.0:
            return 0.0
        try:
            values = values_at(self.experiment, self.along, length, graph=True)
            total = 0.0
            for index, cotangent in zip(self.linear.live, self.linear.cotangents, strict=True):
                total += float(inner(cotangent, torch.where(cotangent == 0, cotangent, values[index] - self.base[index])).double())
            return total
        except FAILURES:
            return math.nan

    def central(self, step: float) -> float:
        """The central difference."""
        return (self(step) - self(-step)) / (2 * step)

    def running(self, length: float) -> Callable[[], object]:
        """A run at a distance, for the signature."""
        if length == 0.0:
            return lambda: self.experiment.outputs(graph=True)
        return lambda: values_at(self.experiment, self.along, length, graph=True)

    def shows_narrow_numbers(self, step: float) -> bool:
        """Whether a narrower type inside is felt in the values: noise on a scale on which float64 is smooth, or plateaus.

        Otherwise it only concerns what is kept for the backward pass, and differences resolve the mismatch.
        """
        spacing = min(1e-3, step / 8)
        values = [self(index * spacing) for index in range(1, 8)]
        size = max(map(abs, values), default=0.0)
        if not all(map(math.isfinite, values)) or any(value == 0.0 for value in values):
            return True
        return measured_noise(lambda length: values[round(length / spacing) - 1], 0.0, spacing, lowest=6) > 1e-9 * size

    def not_finite(self) -> bool:
        """Whether some tensor or output of the experiment is NaN at the point itself."""
        tensors = (*self.experiment.tensors, *self.linear.base)
        return any(bool(torch.isnan(tensor.detach()).any()) for tensor in tensors)

    def only_nonfinite(self) -> "_Slope":
        """The same along a direction that moves only entries whose gradient is not finite."""
        masks, positions = [], []
        for position in self.along.positions:
            gradient = self.linear.gradients[position]
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                positions.append(position)
                masks.append(~torch.isfinite(gradient))
        narrowed = direction(self.experiment, self.linear, Draws(len(positions)), positions, masks)
        return _Slope(self.experiment, self.linear, narrowed)


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and bool(((first == second) | (torch.isnan(first) & torch.isnan(second))).all())


def observed(experiment: Experiment) -> Seen:
    """What one run of the experiment shows beside its values."""
    mode = Observation()
    with mode:
        outputs = experiment.outputs(graph=True)
    for tensor in (*experiment.tensors, *outputs):
        roundoff = ROUNDOFF.get(tensor.dtype, DOUBLE)
        if roundoff > mode.seen.roundoff:
            mode.seen.roundoff, mode.seen.narrow = roundoff, f"{str(tensor.dtype).removeprefix('torch.')} throughout"
    return mode.seen


def spared(experiment: Experiment, seen: Seen) -> bool:
    """Leave out entries whose gradient PyTorch defines away, as a run showed; whether there are any more of them."""
    more = False
    for position, tensor in enumerate(experiment.tensors):
        rows = [row for table, row in seen.padding if table is tensor]
        defined = any(table is tensor for table in seen.defined)
        if position in experiment.untouched or not (rows or defined):
            continue
        mask = torch.zeros_like(tensor, dtype=torch.bool)
        mask[slice(None) if defined else rows] = True
        experiment.untouched[position] = mask
        more = True
    return more


def cut_outputs(experiment: Experiment, linear: Linearization, along: Direction, step: float = 1e-5) -> list[int]:
    """Outputs that carry no gradient although they move with the tensors."""
    if not linear.cut:
        return []
    above, below = values_at(experiment, along, step), values_at(experiment, along, -step)
    return [index for index in linear.cut if not _equal(above[index], below[index])]

