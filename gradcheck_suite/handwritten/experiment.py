"""The experiment on a unit: gradient by hand beside derivatives by differences, and what else its calls did."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradcheck_suite.captures.handwritten_derivative import Alteration, Comparison, Part, Place, Repetition, resolution
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.units import Arrays, Unit
from gradcheck_suite.numerics.differences import DOUBLE, SINGLE, Derivative, derivative, measured_noise
from gradcheck_suite.numerics.mismatch import fsum

RADII: Final = (2.0**-6, 2.0**-8, 2.0**-10)
"""Distances of the points beside x, as shares of the size of x."""
VISIBLE: Final = 1e-8
"""Share of the function's value that stands for the size of a derivative where none is visible."""
ROUNDINGS: Final = 8
"""Roundings per entry of a gradient by hand that its product with a direction is allowed; more show as noise of the function."""
SILENCE: Final = 1e-12
"""Share of the function's value below which noise is that of double precision."""
_HALF: Final = 2.0**-11


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearization:
    """A unit at one point: the outputs there, the gradients by hand, and the cotangents that they belong to."""

    radius: float
    points: Arrays
    outputs: Arrays
    cotangents: Arrays
    gradients: Arrays
    magnitude: float


class Experiment:
    """Everything that is measured on one unit.

    Args:
        unit: what is under test.
        budget: sizes.
        seed: of every direction, cotangent and neighbouring point.
    """

    def __init__(self, unit: Unit, budget: Budget, seed: int) -> None:
        self.unit, self._budget, self._seed = unit, budget, seed
        self.points: Arrays = [argument.array for argument in unit.arguments]
        self.steps: Arrays = [np.full(array.shape, _size(array)) for array in self.points]
        self._near: list[Linearization] | None = None
        self.base = self._linearized(self.points, 0.0)
        self.roundoff = max(SINGLE if unit.single else DOUBLE, *(_roundoff(output) for output in self.base.outputs))
        if self.roundoff == DOUBLE and self._computed_in_single():
            self.roundoff = SINGLE
        self.resolution = resolution(self.roundoff)

    def part(self) -> Part:
        """The measurements, with the details of every place that disagrees."""
        from gradcheck_suite.handwritten.details import detailed

        finite = all(np.isfinite(output).all() for output in self.base.outputs)
        everything = tuple(range(len(self.points)))
        joint = self.place(everything)
        agreed = joint.settled(self.resolution)[0] == "agrees"
        alone = () if agreed and self._budget.name == "quick" else tuple(self.place((index,)) for index in self._filled())
        identity = self.unit.identity
        places = tuple(detailed(self, index, place) for index, place in zip(self._filled(), alone, strict=False))
        return Part(module=identity.module, function=identity.function, source=identity.source, roundoff=self.roundoff, finite=finite,
                    joint=joint, places=places, alterations=self._alterations(), repetitions=tuple(self._repetitions()))

    def _computed_in_single(self) -> bool:
        """Whether the function computes in single precision inside, though its values are of type double.

        At a spacing fit for double precision such a function stands still and its noise is not seen. At this spacing a smooth
        function of double precision shows a noise of about 1e-16 of its value, one of single precision 1e-8 or less where many
        values are added up; a kink close by shows as noise too, hence three points.
        """
        directions = self._directions("precision", range(len(self.points)))
        for _ in range(3):
            noise = measured_noise(self._along(self.base, next(directions)), 0.0, SINGLE**0.7)
            if not SILENCE * self.base.magnitude < noise < math.inf:
                return False
        return True

    def place(self, indices: Sequence[int]) -> Place:
        """The arguments of these indices together, along random directions at x and, where those do not agree, at points beside it."""
        directions = self._directions(f"at {list(indices)}", indices)
        at = tuple(self._best(self.base, next(directions)) for _ in range(self._budget.directions))
        nearby: tuple[Comparison, ...] = ()
        if any(comparison.outcome(self.resolution) != "agrees" for comparison in at) and math.isfinite(self.base.magnitude):
            nearby = tuple(self._best(near, next(directions)) for near in self.neighbours())
        only = self.unit.arguments[indices[0]] if len(indices) == 1 else None
        return Place(module=only.module if only else self.unit.identity.module, parameter=only.name if only else "",
                     shape=only.array.shape if only else (), at=at, nearby=nearby)

    def own_step(self, index: int) -> np.ndarray:
        """Step per entry of one argument by the entry's own size: stays within the domain where that is of one sign."""
        point, step = self.points[index], self.steps[index]
        return np.where(point != 0, np.abs(point), step)

    def _best(self, linear: Linearization, direction: Arrays) -> Comparison:
        """The comparison along a direction or, where that decides nothing, along the same signs with each entry's own step."""
        usual = self.compared(linear, direction)
        if usual.outcome(self.resolution) != "open":
            return usual
        own = [v / step * self.own_step(index) for index, (v, step) in enumerate(zip(direction, self.steps, strict=True))]
        return min(usual, self.compared(linear, own), key=lambda comparison: comparison.error)

    def compared(self, linear: Linearization, direction: Arrays) -> Comparison:
        """Both derivatives along one direction (one array per argument, zeros where it does not move)."""
        products = np.concatenate([(g.astype(np.float64) * v).ravel() for g, v in zip(linear.gradients, direction, strict=True)])
        moving = np.concatenate([v.ravel() != 0 for v in direction])
        products = products[moving]
        finite = products[np.isfinite(products)]
        roundoff = max(_roundoff(gradient) for gradient in linear.gradients)
        measured = self.differenced(linear, direction)
        typical = float(np.sqrt((finite**2).sum()))
        bound = 4 * measured.error + ROUNDINGS * roundoff * float(np.abs(finite).sum())
        visible = max(typical, abs(measured.value)) > bound
        scale = max(typical, abs(measured.value)) if visible else max(typical, VISIBLE * linear.magnitude)
        return Comparison(radius=linear.radius, analytic=fsum(products), analytic_error=ROUNDINGS * roundoff * float(np.abs(finite).sum()),
                          numeric=measured.value, numeric_error=measured.error, jump=measured.jump, jump_error=measured.jump_error,
                          scale=scale, noise=measured.noise, evaluations=measured.evaluations)

    def differenced(self, linear: Linearization, direction: Arrays, enough: float = 0.0) -> Derivative:
        """The derivative of <cotangents, outputs> along a direction, by differences; no better than ``enough`` is needed."""
        single = self.roundoff > DOUBLE
        return derivative(self._along(linear, direction), first_step=0.5 if single else 0.125, levels=5 if single else 9,
                          magnitude=linear.magnitude, roundoff=self.roundoff, enough=enough)

    def neighbours(self) -> list[Linearization]:
        """Points beside x with the gradients there; those where the function is not finite or raises are left out."""
        if self._near is None:
            generator = np.random.default_rng(derive(self._seed, "neighbours"))
            self._near = []
            for number, radius in enumerate(RADII):
                sizes = [self.own_step(index) if number == len(RADII) - 1 else np.maximum(np.abs(p), s)
                         for index, (p, s) in enumerate(zip(self.points, self.steps, strict=True))]
                moved = [p + radius * generator.uniform(-1, 1, p.shape) * size for p, size in zip(self.points, sizes, strict=True)]
                try:
                    with np.errstate(all="ignore"):
                        self._near.append(self._linearized(moved, radius))
                except SubjectError:
                    continue
        return self._near

    def _linearized(self, points: Arrays, radius: float) -> Linearization:
        outputs = self.unit.forward(points)
        generator = np.random.default_rng(derive(self._seed, "cotangents"))
        cotangents = [np.ones(())] if self.unit.scalar else [_signed(generator, output.shape).astype(output.dtype) for output in outputs]
        gradients = self.unit.backward(points, cotangents)
        sizes = [np.abs(output.reshape(u.shape).astype(np.float64) * u) for output, u in zip(outputs, cotangents, strict=True)]
        return Linearization(radius=radius, points=points, outputs=outputs, cotangents=cotangents, gradients=gradients,
                             magnitude=math.fsum(float(size.sum()) for size in sizes))

    def _along(self, linear: Linearization, direction: Arrays) -> Callable[[float], float]:
        """The function of one variable whose derivative at 0 is the one along a direction; 0 at 0."""
        def value(length: float) -> float:
            return self._contracted(linear, [point + length * v for point, v in zip(linear.points, direction, strict=True)])

        return value

    def _contracted(self, linear: Linearization, points: Arrays) -> float:
        """<cotangents, outputs - outputs at the point>, NaN where the function is not defined."""
        try:
            with np.errstate(all="ignore"):
                outputs = self.unit.forward(points)
        except SubjectError as failure:
            if isinstance(failure.__cause__, ArithmeticError | ValueError):
                return math.nan
            raise
        if any(now.shape != then.shape for now, then in zip(outputs, linear.outputs, strict=True)):
            return math.nan
        terms = [(now.astype(np.float64) - then) * u.reshape(now.shape)
                 for now, then, u in zip(outputs, linear.outputs, linear.cotangents, strict=True)]
        return fsum(np.concatenate([term.ravel() for term in terms]))

    def _filled(self) -> list[int]:
        return [index for index, point in enumerate(self.points) if point.size]

    def _directions(self, name: str, indices: Sequence[int]) -> Iterator[Arrays]:
        generator = np.random.default_rng(derive(self._seed, name))
        while True:
            yield [_signed(generator, point.shape) * step if index in indices else np.zeros(point.shape)
                   for index, (point, step) in enumerate(zip(self.points, self.steps, strict=True))]

    def _alterations(self) -> tuple[Alteration, ...]:
        return tuple(Alteration(stage=stage, argument=argument, kind=kind, entries=entries, size=size)
                     for (stage, argument, kind), (entries, size) in sorted(self.unit.altered.items()))

    def _repetitions(self) -> Iterator[Repetition]:
        """The same call made again: at once, and with everything put back before."""
        base, unit = self.base, self.unit
        largest = max(array.size for array in (*base.points, *base.outputs))
        first = unit.forward(base.points)
        again = unit.forward(base.points, restored=False)
        yield Repetition(stage="forward", plain=_spread(first, again), replayed=_spread(base.outputs, first), entries=largest)
        gradients = unit.backward(base.points, base.cotangents)
        repeated = unit.backward(base.points, base.cotangents, restored=False)
        yield Repetition(stage="backward", plain=_spread(gradients, repeated), replayed=_spread(base.gradients, gradients), entries=largest)


def _signed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    size = generator.uniform(0.5, 1.5, shape)
    return np.where(generator.random(shape) < 0.5, -size, size)


def _size(array: np.ndarray) -> float:
    """Root mean square, 1 for an array of zeros or without entries."""
    rms = float(np.sqrt((array**2).mean())) if array.size else 0.0
    return rms or 1.0


def _roundoff(array: np.ndarray) -> float:
    return {2: _HALF, 4: SINGLE}.get(array.dtype.itemsize, DOUBLE)


def _spread(first: Arrays, second: Arrays) -> float:
    """Largest difference as a share of the largest value, infinite where shapes or the places of NaN differ."""
    greatest, largest = 0.0, 0.0
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape or not np.array_equal(np.isnan(one), np.isnan(other)):
            return math.inf
        known = ~np.isnan(one)
        with np.errstate(invalid="ignore"):
            gap = np.abs(one[known].astype(np.float64) - other[known])
        greatest = max(greatest, float(np.max(gap[~np.isnan(gap)], initial=0.0)))
        largest = max(largest, float(np.max(np.abs(one[known]), initial=0.0)))
    return greatest / largest if largest > 0 and math.isfinite(largest) else (0.0 if greatest == 0 else math.inf)
