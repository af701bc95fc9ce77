"""Where an array differs from the gradient that it should be, found from directional derivatives alone.

The array under suspicion is known entry by entry; of the true gradient only its product with any direction is measured.
``patterns`` tells how the two differ.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

Along = Callable[[np.ndarray], tuple[float, float]]
"""The derivative along a direction of the array's shape, and a bound on its error (infinite: it could not be measured)."""

ENUMERATED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: the suspected array's value, the derivative, and a bound on the derivative's error."""

    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float

    @property
    def gap(self) -> float:
        """Distance between the two, 0 where the derivative could not be measured."""
        return _certain(self.analytic - self.numeric, self.error)[1]

    @property
    def certain(self) -> tuple[float, float]:
        """Sort key of how wrong the entry is: the part of the distance that the error does not explain, then the distance."""
        return _certain(self.analytic - self.numeric, self.error)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An array, the derivative that it should be, and what random directions need.

    Attributes:
        analytic: the array under suspicion, any shape.
        along: the derivative along a direction of that shape.
        scale: step scale per entry, positive: a scalar or an array of that shape.
        seed: of the random directions.
    """

    analytic: np.ndarray
    along: Along
    scale: np.ndarray | float = 1.0
    seed: int = 0

    def directions(self) -> Iterator[np.ndarray]:
        """Random directions: a random sign times U(0.5, 1.5) times the scale, in every entry."""
        generator = np.random.default_rng(self.seed)
        while True:
            size = generator.uniform(0.5, 1.5, self.analytic.shape)
            yield np.where(generator.random(self.analytic.shape) < 0.5, -size, size) * self.scale

    def product(self, direction: np.ndarray) -> float:
        """The array's product with a direction, summed exactly; NaN where an entry that counts is not finite."""
        used = direction != 0
        return fsum(self.analytic[used] * direction[used])

    def gap(self, direction: np.ndarray, other: np.ndarray | None = None) -> tuple[float, float]:
        """The array's product with a direction minus the derivative along it (or along ``other``), and its bound."""
        value, error = self.along(direction if other is None else other)
        return self.product(direction) - value, error


def fsum(values: np.ndarray) -> float:
    """The sum with one rounding; NaN where a value is not finite."""
    flat = values.ravel()
    return math.fsum(flat.tolist()) if np.isfinite(flat).all() else math.nan


def worst_entry(suspect: Suspect) -> Entry:
    """The entry with the largest deviation, by bisection: each step keeps the half whose random combination deviates more.

    Takes two derivatives per halving and one for each of the last ``ENUMERATED`` entries. Where errors of several entries
    are of like size, any of them may come out.
    """
    kept = np.arange(suspect.analytic.size)
    directions = suspect.directions()
    while kept.size > ENUMERATED:
        halves = np.array_split(kept, 2)
        direction = next(directions)
        gaps = [_certain(*suspect.gap(_only(direction, half))) for half in halves]
        kept = halves[int(gaps[1] > gaps[0])]
    return max(entries(suspect, kept), key=lambda entry: entry.certain)


def entries(suspect: Suspect, flat_indices: np.ndarray) -> tuple[Entry, ...]:
    """Single entries, one derivative each, at the given positions of the flattened array."""
    found = []
    scale = np.broadcast_to(np.asarray(suspect.scale, dtype=float), suspect.analytic.shape)
    for position in flat_indices.tolist():
        index = tuple(int(i) for i in np.unravel_index(position, suspect.analytic.shape))
        direction = np.zeros(suspect.analytic.shape)
        direction[index] = scale[index]
        value, error = suspect.along(direction)
        found.append(Entry(index=index, analytic=float(suspect.analytic[index]), numeric=value / float(scale[index]),
                           error=error / float(scale[index])))
    return tuple(found)


def _only(direction: np.ndarray, flat_indices: np.ndarray) -> np.ndarray:
    kept = np.zeros(direction.size)
    kept[flat_indices] = direction.ravel()[flat_indices]
    return kept.reshape(direction.shape)


def _certain(distance: float, error: float) -> tuple[float, float]:
    if math.isnan(distance) or not math.isfinite(error):
        return 0.0, 0.0
    return max(abs(distance) - error, 0.0), abs(distance)
