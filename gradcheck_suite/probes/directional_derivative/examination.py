"""Examination of one experiment: look, and on disagreement confirm with fresh draws, move off kinks, uncover what zeros hide."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from gradcheck_suite.probes.directional_derivative.circumstances import cut_outputs, spared
from gradcheck_suite.probes.directional_derivative.comparison import (
    AGREES,
    DISAGREES,
    KINK,
    NOISE,
    NOTHING,
    Look,
    Outcome,
    compare,
)
from gradcheck_suite.probes.directional_derivative.directions import Direction, direction, reached
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, linearize

_NEARBY: Final = (1e-3, 1e-2, 3e-2)
_UNCOVERED: Final = (1e-3, 500.0)


@dataclass(slots=True)
class Examination:
    """What an experiment showed.

    ``outcome``, ``linear`` and ``along`` are those of the decisive comparison. ``kinks`` are the choices met at the given point;
    ``displaced`` says that the decisive comparison was made at a point nearby, or with zeros replaced; ``cut`` lists outputs
    that move and carry no gradient; ``confirmed`` counts comparisons with fresh draws that disagreed as well.
    """

    outcome: Outcome
    linear: Linearization
    along: Direction
    kinks: list[str] = field(default_factory=list)
    displaced: str = ""
    cut: list[int] = field(default_factory=list)
    confirmed: int = 0

    @property
    def status(self) -> str:
        """The decisive comparison's."""
        return self.outcome.status


def examine(experiment: Experiment, draws: Draws, look: Look, own_code: bool = False, first: Linearization | None = None) -> Examination:
    """Examine an experiment; ``own_code`` looks harder at what is not PyTorch's own.

    ``first`` is a linearization already made (the whole model's, from the recorded pass).
    """
    linear = linearize(experiment, draws) if first is None else first
    if not reached(experiment, linear) or not (linear.live or linear.cut) or _empty(linear, experiment):
        return Examination(Outcome(NOTHING), linear, direction(experiment, linear, draws))
    found = _compared(experiment, linear, draws, look)
    if found.status != AGREES and spared(experiment, found.outcome.seen):
        found = _compared(experiment, linear, draws, look)
    if found.status == NOISE:
        found = _rescaled(experiment, draws, look, found)
    found.cut = cut_outputs(experiment, linear, found.along)
    if found.status == DISAGREES:
        found = _confirmed(experiment, draws, look, found)
    if found.status == AGREES and look.harder and (own_code or found.linear.survey.handwritten):
        return _harder(experiment, draws, look, found)
    return _nearby(experiment, draws, look, found) if found.status == KINK else found


def _empty(linear: Linearization, experiment: Experiment) -> bool:
    """Nothing but tensors without entries on one side."""
    return (not linear.cut and not any(u.numel() for u in linear.cotangents)) or not any(t.numel() for t in experiment.tensors)


def _harder(experiment: Experiment, draws: Draws, look: Look, found: Examination) -> Examination:
    """For gradients written by hand: fresh draws, and every tensor alone; for zeros, also a point without them."""
    if found.linear.survey.handwritten:
        tensors = reached(experiment, found.linear)
        for positions in [None, *([index] for index in tensors if len(tensors) > 1)]:
            linear = linearize(experiment, draws) if positions is None else found.linear
            other = _compared(experiment, linear, draws, look, positions)
            if other.status == DISAGREES and (other := _confirmed(experiment, draws, look, other)).status == DISAGREES:
                return other
    if not found.along.zeros:
        return found
    experiment.displace(draws, *_UNCOVERED)
    with suppress(*FAILURES):
        other = _compared(experiment, linearize(experiment, draws), draws, look)
        if other.status == DISAGREES and (other := _confirmed(experiment, draws, look, other)).status == DISAGREES:
            other.displaced = "tensors of zeros replaced: at the given point the zeros hide it"
            return other
    experiment.replace()
    return found


def _compared(
    experiment: Experiment, linear: Linearization, draws: Draws, look: Look, positions: Sequence[int] | None = None, scaling: str = "size"
) -> Examination:
    along = direction(experiment, linear, draws, positions, scaling=scaling)
    return Examination(compare(experiment, linear, along, look), linear, along)


def _rescaled(experiment: Experiment, draws: Draws, look: Look, found: Examination) -> Examination:
    """Other scales for the direction, where the usual one is too coarse: of numbers with an offset, or of very different sizes."""
    for scaling in ("deviation", "entry"):
        other = _compared(experiment, found.linear, draws, look, scaling=scaling)
        if other.status in (AGREES, DISAGREES):
            return other
    return found


def _confirmed(experiment: Experiment, draws: Draws, look: Look, found: Examination) -> Examination:
    """At least one of two comparisons with a fresh direction and cotangent must disagree as well."""
    positions = None if len(found.along.positions) == len(reached(experiment, found.linear)) else found.along.positions
    others = []
    for _ in range(2):
        other = _compared(experiment, linearize(experiment, draws), draws, look, positions, found.along.scaling)
        if other.status == DISAGREES:
            found.confirmed += 1
            return found
        others.append(other)
    agreeing = next((other for other in others if other.status == AGREES), None)
    if agreeing is not None:
        agreeing.outcome.text = "a first comparison disagreed, two with fresh draws did not"
        agreeing.cut = found.cut
        return agreeing
    found.outcome.status, found.outcome.error = NOISE, math.inf
    found.outcome.text = "comparisons with fresh draws could not confirm a first disagreement"
    return found


def _nearby(experiment: Experiment, draws: Draws, look: Look, found: Examination) -> Examination:
    """Points nearby decide where the point itself lies on a kink: agreement at one, or disagreement at two."""
    kinks = [_kink(found.outcome)]
    wrong: list[Examination] = []
    for size in _NEARBY:
        experiment.displace(draws, size, signed=size == _NEARBY[0])
        try:
            other = _compared(experiment, linearize(experiment, draws), draws, look)
        except FAILURES:  # outside of the domain
            continue
        other.kinks, other.displaced = kinks, f"a point moved by {size:g} of each tensor's size, off a kink"
        if other.status == AGREES:
            other.cut = found.cut
            return other
        if other.status == DISAGREES:
            wrong.append(other)
            if len(wrong) == 2:
                other.confirmed = 1
                return other
    experiment.replace()
    found.kinks = kinks
    return found


def _kink(outcome: Outcome) -> str:
    return outcome.text or (str(outcome.kink) if outcome.kink is not None else "an operation that cannot be watched")
