"""What is said of a place that disagrees: its worst entry, the pattern of the error, a sample of entries."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gradcheck_suite.captures.handwritten_derivative import CONFIDENCE, EntryComparison, Place
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.comparing import Comparer, Linearization
from gradcheck_suite.numerics.mismatch import Entry, Suspect, entries, worst_entry
from gradcheck_suite.numerics.patterns import pattern

SAMPLE: Final = 7
"""Entries shown beside the worst one."""


def detailed(comparer: Comparer, index: int, place: Place, near: Sequence[Linearization]) -> Place:
    """A place with entries and pattern, where it disagrees; any other as it is.

    Args:
        comparer: that compared.
        index: of the argument that the place is.
        place: the comparisons.
        near: the points beside x that were looked at.
    """
    status, shown = place.settled(comparer.resolution)
    if status not in ("disagrees", "disagrees-nearby", "exceptional"):
        return place
    linear = next((point for point in near if point.radius == shown.radius), comparer.base)
    size = math.sqrt(linear.gradients[index].size)
    suspect = _suspect(comparer, linear, index, 1e-3 * shown.gap / size if math.isfinite(shown.gap) else 0.0)
    finite = np.isfinite(suspect.analytic)
    worst = worst_entry(suspect) if finite.all() else entries(suspect, np.flatnonzero(~finite)[:1])[0]
    told = pattern(suspect, point=linear.points[index], worst=worst.index)
    chosen = np.random.default_rng(derive(suspect.seed, "sample")).permutation(finite.size)[: SAMPLE + 1]
    sample = [entry for entry in entries(suspect, chosen) if entry.index != worst.index][:SAMPLE]
    return replace(place, pattern=told.text, entries=tuple(map(_told, (worst, *sample))))


def _suspect(comparer: Comparer, linear: Linearization, index: int, enough: float) -> Suspect:
    """One argument's gradient and the derivative along directions of that argument; ``enough`` as error of a derivative."""
    still = [np.zeros(point.shape) for point in linear.points]

    def along(direction: np.ndarray) -> tuple[float, float]:
        found = comparer.differenced(linear, [*still[:index], np.asarray(direction), *still[index + 1:]], enough=enough / CONFIDENCE)
        kinked = abs(found.jump) > CONFIDENCE * found.jump_error
        error = CONFIDENCE * found.error + (abs(found.jump) if kinked else 0.0)
        return found.value, error if math.isfinite(found.value) else math.inf

    usual = Suspect(analytic=linear.gradients[index].astype(np.float64), along=along, scale=comparer.steps[index],
                    seed=derive(comparer.seed, "details", index))
    defined = math.isfinite(along(next(usual.directions()))[1])
    return usual if defined else replace(usual, scale=comparer.own_step(index))


def _told(entry: Entry) -> EntryComparison:
    return EntryComparison(index=entry.index, analytic=entry.analytic, numeric=entry.numeric, error=entry.error)
