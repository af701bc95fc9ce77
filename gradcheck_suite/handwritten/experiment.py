"""The experiment on a unit: all arguments together, each alone, points beside x, and what else its calls did."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gradcheck_suite.captures.handwritten_derivative import Alteration, Comparison, Part, Place, Repetition
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.comparing import Comparer, Linearization
from gradcheck_suite.handwritten.details import detailed
from gradcheck_suite.handwritten.units import Arrays, Unit

RADII: Final = (2.0**-6, 2.0**-8, 2.0**-10)
"""Distances of the points beside x, as shares of the size of x; at the last one each entry moves by a share of its own size."""


def measured(unit: Unit, budget: Budget, seed: int) -> Part:
    """Everything that is measured on one unit, with the details of every place that disagrees.

    Args:
        unit: what is under test.
        budget: sizes.
        seed: of every direction, cotangent and neighbouring point.

    Raises:
        SubjectError: the user's code raised at x.
    """
    comparer = Comparer(unit, seed)
    near = Neighbours(comparer)
    filled = [index for index, point in enumerate(comparer.base.points) if point.size]
    joint = _place(near, filled, budget.directions)
    if len(filled) == 1:
        alone = [(filled[0], joint)]
    elif budget.name == "quick" and joint.settled(comparer.resolution)[0] == "agrees":
        alone = []
    else:
        alone = [(index, _place(near, [index], budget.directions)) for index in filled]
    identity = unit.identity
    return Part(
        module=identity.module, function=identity.function, source=identity.source, roundoff=comparer.roundoff,
        finite=all(np.isfinite(output).all() for output in comparer.base.outputs), joint=joint,
        places=tuple(detailed(comparer, index, place, near.found) for index, place in alone),
        alterations=tuple(Alteration(stage=stage, argument=argument, kind=kind, entries=entries, size=size)
                          for (stage, argument, kind), (entries, size) in sorted(unit.altered.items())),
        repetitions=tuple(_repetitions(comparer)))


class Neighbours:
    """Points beside x, with the gradients there, made when they are first asked for."""

    def __init__(self, comparer: Comparer) -> None:
        self.comparer = comparer
        self.found: list[Linearization] = []
        self._made = False

    def all(self) -> list[Linearization]:
        """The points; those at which the function raises are left out."""
        if not self._made:
            self._made = True
            generator = np.random.default_rng(derive(self.comparer.seed, "neighbours"))
            for radius in RADII:
                moved = self._moved(generator, radius)
                try:
                    with np.errstate(all="ignore"):
                        self.found.append(self.comparer.linearized(moved, radius))
                except SubjectError:
                    continue
        return self.found

    def _moved(self, generator: np.random.Generator, radius: float) -> Arrays:
        base, steps = self.comparer.base.points, self.comparer.steps
        sizes = [self.comparer.own_step(index) if radius == RADII[-1] else np.maximum(np.abs(point), step)
                 for index, (point, step) in enumerate(zip(base, steps, strict=True))]
        return [point + radius * generator.uniform(-1, 1, point.shape) * size for point, size in zip(base, sizes, strict=True)]


def _place(near: Neighbours, indices: Sequence[int], count: int) -> Place:
    """The arguments of these indices together, along random directions at x and, where those do not agree, at points beside it."""
    comparer = near.comparer
    directions = comparer.directions(f"at {list(indices)}", indices)
    at = tuple(comparer.best(comparer.base, next(directions)) for _ in range(count))
    nearby: tuple[Comparison, ...] = ()
    if any(comparison.outcome(comparer.resolution) != "agrees" for comparison in at) and math.isfinite(comparer.base.magnitude):
        nearby = tuple(comparer.best(linear, next(directions)) for linear in near.all())
    only = comparer.unit.arguments[indices[0]] if len(indices) == 1 else None
    return Place(module=only.module if only else comparer.unit.identity.module, parameter=only.name if only else "",
                 shape=only.array.shape if only else (), at=at, nearby=nearby)


def _repetitions(comparer: Comparer) -> Iterator[Repetition]:
    """The same call made again: at once, and with everything put back before."""
    base, unit = comparer.base, comparer.unit
    largest = max(array.size for array in (*base.points, *base.outputs))
    first = unit.forward(base.points)
    again = unit.forward(base.points, restored=False)
    yield Repetition(stage="forward", plain=_spread(first, again), replayed=_spread(base.outputs, first), entries=largest)
    gradients = unit.backward(base.points, base.cotangents)
    repeated = unit.backward(base.points, base.cotangents, restored=False)
    yield Repetition(stage="backward", plain=_spread(gradients, repeated), replayed=_spread(base.gradients, gradients), entries=largest)


def _spread(first: Arrays, second: Arrays) -> float:
    """Largest difference as a share of the largest value, infinite where shapes or the places of NaN and infinities differ."""
    greatest = largest = 0.0
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape:
            return math.inf
        known = np.isfinite(one) & np.isfinite(other)
        if not np.array_equal(one[~known], other[~known], equal_nan=True):
            return math.inf
        greatest = max(greatest, float(np.max(np.abs(one[known].astype(np.float64) - other[known]), initial=0.0)))
        largest = max(largest, *(float(np.max(np.abs(array[known]), initial=0.0)) for array in (one, other)))
    return greatest / largest if greatest > 0 else 0.0
