"""Slope: Σ<u, f> along one direction as a function of the distance, run in the grad mode of training."""

import math
from collections.abc import Callable
from typing import Final

import torch

from gradcheck_suite.numerics.differences import DOUBLE, Derivative, measured_noise
from gradcheck_suite.probes.directional_derivative.circumstances import equal
from gradcheck_suite.probes.directional_derivative.directions import Direction, direction, values_at
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, inner, linearize

_REACH: Final = 0.01  # share of M/S over which a smooth function of size M may be taken for straight, at a slope S
_LEAST_STEP: Final = 8 * DOUBLE
_SHARE: Final = 0.25


class Slope:
    """Σ<u, f(t) - f(0)> as a function of the distance t, evaluated in the grad mode of training."""

    def __init__(self, experiment: Experiment, linear: Linearization, along: Direction) -> None:
        self.experiment, self.linear, self.along = experiment, linear, along
        self.base = experiment.outputs(graph=True)
        again = experiment.outputs(graph=True)
        self.repeats = len(again) == len(self.base) and all(equal(a, b) for a, b in zip(again, self.base, strict=True))

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

    def unsettled(self, ladder: Derivative, error: float) -> str:
        """Why a derivative from a ladder of steps does not speak against the analytic one, or ``""`` where it does.

        It must be the slope on much smaller scales as well, as far as they can be resolved; also on the scale on which a slope
        of the analytic size could last, because outputs of size M cannot follow a slope S further than M/S.
        """
        gap = abs(self.along.analytic - ladder.value)
        reach = _REACH * self.linear.magnitude / self.along.scale if self.along.scale > 0 else 1.0
        for step in (1e-8, 1e-10, min(1e-8, max(reach, _LEAST_STEP))):
            found, noise = self.central(step), 10 * ladder.noise / step
            away = abs(found - ladder.value)
            if not away <= noise + error + 1e-2 * max(abs(ladder.value), self.along.scale):
                return "the differences have not converged"
            narrow = step < 1e-8
            if narrow and noise < _SHARE * gap < away:
                return f"ill-conditioned: steps of {step:.0e} of the numbers' size give another slope than larger steps"
            if narrow and step == reach and noise >= _SHARE * gap:
                return f"ill-conditioned: rounding hides what a step of {step:.0e} of the numbers' size changes"
        return ""

    def conditioning(self) -> float:
        """Relative change of the outputs for a relative change of every number, measured over a few units in the last place.

        Zero where outputs have no size.
        """
        length = 64 * DOUBLE
        moved = max(abs(self(sign * length)) for sign in (1.0, -1.0))
        size = self.linear.magnitude
        return moved / (length * size) if size > 0 and math.isfinite(moved) else 0.0

    def wobble(self) -> float:
        """How much the analytic derivative moves when every number moves by a few units in the last place.

        That is the error an ill-conditioned backward pass makes by itself. Zero where equal runs give unequal gradients: a
        backward pass that is random is wrong, not ill-conditioned.
        """
        if self._again() != self.along.analytic:
            return 0.0
        tensors = self.experiment.tensors
        places = [tensor.data for tensor in tensors]
        largest, draws = 0.0, Draws(len(places))
        try:
            for _ in range(2):
                for tensor, value in zip(tensors, places, strict=True):
                    tensor.data = value + value * draws.like(value) * (4 * DOUBLE)
                largest = max(largest, abs(self._again() - self.along.analytic))
        finally:
            for tensor, value in zip(tensors, places, strict=True):
                tensor.data = value
        return largest if math.isfinite(largest) else 0.0

    def _again(self) -> float:
        """The analytic derivative of a fresh run with the same cotangents and direction."""
        again = linearize(self.experiment, Draws(0), self.linear.cotangents)
        total = 0.0
        for position, vector, step in zip(self.along.positions, self.along.vectors, self.along.steps, strict=True):
            gradient = again.gradients[position]
            total += 0.0 if gradient is None else step * float(inner(gradient, vector))
        return total

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

    def only_nonfinite(self) -> "Slope":
        """The same along a direction that moves only entries whose gradient is not finite."""
        masks, positions = [], []
        for position in self.along.positions:
            gradient = self.linear.gradients[position]
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                positions.append(position)
                masks.append(~torch.isfinite(gradient))
        narrowed = direction(self.experiment, self.linear, Draws(len(positions)), positions, masks)
        return Slope(self.experiment, self.linear, narrowed)
