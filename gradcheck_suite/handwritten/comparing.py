"""One unit at one point: its gradient by hand beside derivatives by differences, along single directions."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gradcheck_suite.captures.handwritten_derivative import CONFIDENCE, Comparison, resolution
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.units import Arrays, Unit
from gradcheck_suite.numerics.differences import DOUBLE, SINGLE, Derivative, derivative
from gradcheck_suite.numerics.mismatch import fsum

VISIBLE: Final = 1e-8
"""Share of the function's value that stands for the size of a derivative where none is visible."""
ROUNDINGS: Final = 8
"""Roundings per entry of a gradient by hand that its product with a direction is allowed; more show as noise of the function."""
FINER: Final = 48.0
"""A second ladder of steps begins at this fraction of the first one's: no step is in both."""
_HALF: Final = 2.0**-11
_STRIDE, _STRIDES = 2.0**-25, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearization:
    """A unit at one point: the outputs there, the gradients by hand, and the cotangents that they belong to.

    ``radius`` is the distance from x as a share of its size; ``magnitude`` the sum of the sizes of the terms of
    <cotangents, outputs>.
    """

    radius: float
    points: Arrays
    outputs: Arrays
    cotangents: Arrays
    gradients: Arrays
    magnitude: float


class Comparer:
    """Compares at any point of one unit.

    Attributes:
        unit: what is under test.
        base: the unit at x.
        steps: size of each argument: its root mean square, 1 where that is 0.
        roundoff: unit roundoff of the unit's arithmetic.
        resolution: what a comparison must be able to see.
    """

    def __init__(self, unit: Unit, seed: int) -> None:
        self.unit, self.seed = unit, seed
        points: Arrays = [argument.array for argument in unit.arguments]
        self.steps = [_size(array) for array in points]
        self.base = self.linearized(points, 0.0)
        self.roundoff = max(SINGLE if unit.single else DOUBLE, *map(roundoff_of, self.base.outputs))
        if self.roundoff == DOUBLE and self._moves_in_steps():
            self.roundoff = SINGLE
        self.resolution = resolution(self.roundoff)

    def linearized(self, points: Arrays, radius: float) -> Linearization:
        """The unit at a point; the cotangents are the same at every point.

        Raises:
            SubjectError: the user's code raised there.
        """
        outputs = self.unit.forward(points)
        generator = np.random.default_rng(derive(self.seed, "cotangents"))
        cotangents = [np.ones(())] if self.unit.scalar else [signed(generator, output.shape).astype(output.dtype) for output in outputs]
        sizes = [np.abs(output.reshape(u.shape).astype(np.float64) * u) for output, u in zip(outputs, cotangents, strict=True)]
        return Linearization(radius=radius, points=points, outputs=outputs, cotangents=cotangents,
                             gradients=self.unit.backward(points, cotangents), magnitude=math.fsum(float(size.sum()) for size in sizes))

    def own_step(self, index: int) -> np.ndarray:
        """Step per entry of one argument by the entry's own size: stays within the domain where that is of one sign."""
        point = self.base.points[index]
        return np.where(point != 0, np.abs(point), self.steps[index])

    def directions(self, name: str, indices: Sequence[int]) -> Iterator[Arrays]:
        """Random directions over some arguments, one array per argument, zeros in the others."""
        generator = np.random.default_rng(derive(self.seed, name))
        while True:
            yield [signed(generator, point.shape) * step if index in indices else np.zeros(point.shape)
                   for index, (point, step) in enumerate(zip(self.base.points, self.steps, strict=True))]

    def best(self, linear: Linearization, direction: Arrays) -> Comparison:
        """The comparison along a direction or, where that decides nothing, along the same signs with each entry's own step."""
        usual = self.compared(linear, direction)
        if usual.outcome(self.resolution) != "open":
            return usual
        own = [v / step * self.own_step(index) for index, (v, step) in enumerate(zip(direction, self.steps, strict=True))]
        return min(usual, self.compared(linear, own), key=lambda comparison: comparison.error)

    def compared(self, linear: Linearization, direction: Arrays) -> Comparison:
        """Both derivatives along one direction; where they differ, after a second ladder of smaller steps has been asked.

        The first ladder may seem to converge before its steps are smaller than the scale on which the function bends. Two ladders
        that contradict each other are no proof of a wrong gradient: agreement with the finer one counts, else their distance is
        the error.
        """
        first = self._comparison(linear, direction, self.differenced(linear, direction))
        if first.outcome(self.resolution) != "disagrees":
            return first
        again = self._comparison(linear, direction, self.differenced(linear, direction, finer=True))
        contradiction = abs(first.numeric - again.numeric)
        if math.isnan(contradiction) or contradiction <= CONFIDENCE * (first.numeric_error + again.numeric_error):
            return first
        if again.gap <= again.bound:
            return again
        return replace(again, numeric_error=max(again.numeric_error, contradiction))

    def _comparison(self, linear: Linearization, direction: Arrays, measured: Derivative) -> Comparison:
        products = np.concatenate([(g.astype(np.float64) * v).ravel() for g, v in zip(linear.gradients, direction, strict=True)])
        products = products[np.concatenate([v.ravel() != 0 for v in direction])]
        finite = products[np.isfinite(products)]
        rounding = ROUNDINGS * max(map(roundoff_of, linear.gradients)) * float(np.abs(finite).sum())
        size = max(float(np.sqrt((finite**2).sum())), abs(measured.value) if math.isfinite(measured.value) else 0.0)
        visible = size > CONFIDENCE * measured.error + rounding
        return Comparison(
            radius=linear.radius, analytic=fsum(products), analytic_error=rounding, numeric=measured.value, numeric_error=measured.error,
            jump=measured.jump, jump_error=measured.jump_error, scale=size if visible else max(size, VISIBLE * linear.magnitude),
            noise=measured.noise, evaluations=measured.evaluations)

    def differenced(self, linear: Linearization, direction: Arrays, *, enough: float = 0.0, finer: bool = False) -> Derivative:
        """The derivative of <cotangents, outputs> along a direction, by differences; no better than ``enough`` is needed."""
        step, levels = (0.25, 7) if self.roundoff > DOUBLE else (0.125, 9)
        return derivative(self.along(linear, direction), first_step=step / FINER if finer else step, levels=levels - 2 * finer,
                          magnitude=linear.magnitude, roundoff=self.roundoff, enough=enough)

    def along(self, linear: Linearization, direction: Arrays) -> Callable[[float], float]:
        """The function of one variable whose derivative at 0 is the one along a direction; 0 at 0, NaN outside the domain."""
        def value(length: float) -> float:
            moved = [point + length * v for point, v in zip(linear.points, direction, strict=True)]
            try:
                with np.errstate(all="ignore"):
                    outputs = self.unit.forward(moved)
            except SubjectError as failure:
                if isinstance(failure.__cause__, ArithmeticError | ValueError):
                    return math.nan
                raise
            return _contracted(outputs, linear)

        return value

    def _moves_in_steps(self) -> bool:
        """Whether the function computes in single precision inside, though its values are of type double.

        Such a function moves in steps of about 6e-8 of its arguments or values and stands still between them: at a stride of
        half of that, differences change from one to the next by as much as they are. Those of a smooth function of double precision
        change by a share of about 1e-8, those next to a kink only once. Three points are asked, of which two must be rough.
        """
        directions = self.directions("precision", range(len(self.base.points)))
        rough = 0
        for number in range(3):
            if abs(rough) == 2:
                break
            shift = next(directions)
            moved = [point + number / 256 * v for point, v in zip(self.base.points, shift, strict=True)]
            function = self.along(replace(self.base, points=moved), next(directions))
            slopes = np.diff([function(count * _STRIDE) for count in range(_STRIDES + 1)])
            bends = np.abs(np.diff(slopes))
            if np.isfinite(slopes).all() and slopes.any():
                large = np.maximum(1e-3 * np.abs(slopes).max(), 1e-12 * self.base.magnitude)
                rough += 1 if (bends > large).sum() > 2 else -1
        return rough >= 2


def _contracted(outputs: Arrays, linear: Linearization) -> float:
    """<cotangents, outputs - outputs at the point>, NaN where the outputs have another shape than there."""
    if len(outputs) != len(linear.outputs) or any(now.shape != then.shape for now, then in zip(outputs, linear.outputs, strict=True)):
        return math.nan
    terms = [(now.astype(np.float64) - then) * u.reshape(now.shape)
             for now, then, u in zip(outputs, linear.outputs, linear.cotangents, strict=True)]
    return fsum(np.concatenate([term.ravel() for term in terms]))


def signed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random signs times U(0.5, 1.5)."""
    size = generator.uniform(0.5, 1.5, shape)
    return np.where(generator.random(shape) < 0.5, -size, size)


def roundoff_of(array: np.ndarray) -> float:
    """Unit roundoff of an array's type, double precision's for wider ones."""
    return {2: _HALF, 4: SINGLE}.get(array.dtype.itemsize, DOUBLE)


def _size(array: np.ndarray) -> float:
    """Root mean square, 1 for an array of zeros or without entries."""
    rms = float(np.sqrt((array**2).mean())) if array.size else 0.0
    return rms or 1.0
