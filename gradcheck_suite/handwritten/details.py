"""What is said of a place that disagrees: its worst entry, the pattern of the error, a sample of entries."""

import math
from dataclasses import replace

import numpy as np

from gradcheck_suite.captures.handwritten_derivative import CONFIDENCE, EntryComparison, Place
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.experiment import Experiment, Linearization
from gradcheck_suite.numerics.mismatch import Entry, Suspect, entries, worst_entry
from gradcheck_suite.numerics.patterns import pattern

SAMPLE = 7
"""Entries shown beside the worst one."""


def detailed(experiment: Experiment, index: int, place: Place) -> Place:
    """A place with entries and pattern, where it disagrees; any other as it is.

    Args:
        experiment: that measured the place.
        index: of the argument that the place is.
        place: the comparisons.
    """
    status, shown = place.settled(experiment.resolution)
    if status not in ("disagrees", "disagrees-nearby", "exceptional"):
        return place
    near = [linear for linear in experiment.neighbours() if linear.radius == shown.radius] if shown.radius else []
    linear = near[0] if near else experiment.base
    analytic = linear.gradients[index].astype(np.float64)
    enough = 1e-3 * shown.gap / math.sqrt(analytic.size) if math.isfinite(shown.gap) else 0.0
    suspect = _suspect(experiment, linear, index, enough)
    worst = worst_entry(suspect) if np.isfinite(analytic).all() else _first_nonfinite(suspect)
    told = pattern(suspect, point=linear.points[index], worst=worst.index)
    generator = np.random.default_rng(derive(suspect.seed, "sample"))
    others = generator.permutation(analytic.size)[: SAMPLE + 1]
    sample = [entry for entry in entries(suspect, others) if entry.index != worst.index][:SAMPLE]
    return replace(place, pattern=told.text, entries=tuple(map(_told, (worst, *sample))))


def _suspect(experiment: Experiment, linear: Linearization, index: int, enough: float) -> Suspect:
    analytic = linear.gradients[index].astype(np.float64)
    still = [np.zeros(point.shape) for point in linear.points]

    def along(direction: np.ndarray) -> tuple[float, float]:
        measured = experiment.differenced(linear, [*still[:index], np.asarray(direction), *still[index + 1:]], enough / CONFIDENCE)
        kinked = abs(measured.jump) > CONFIDENCE * measured.jump_error
        error = CONFIDENCE * measured.error + (abs(measured.jump) if kinked else 0.0)
        return measured.value, error if math.isfinite(measured.value) else math.inf

    usual = Suspect(analytic=analytic, along=along, scale=experiment.steps[index], seed=derive(0, "details", index))
    defined = math.isfinite(along(next(usual.directions()))[1])
    return usual if defined else replace(usual, scale=experiment.own_step(index))


def _first_nonfinite(suspect: Suspect) -> Entry:
    return entries(suspect, np.flatnonzero(~np.isfinite(suspect.analytic))[:1])[0]


def _told(entry: Entry) -> EntryComparison:
    return EntryComparison(index=entry.index, analytic=entry.analytic, numeric=entry.numeric, error=entry.error)
