"""Judgement: which disagreements say something about a module, and which may be meant, or the numbers' own."""

from collections.abc import Iterable, Sequence
from typing import Final

import torch

from gradcheck_suite.captures.directional_derivative import Place
from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft
from gradcheck_suite.probes.directional_derivative.comparison import DISAGREES, KINK, NOISE, NOTHING
from gradcheck_suite.probes.directional_derivative.directions import central
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import DATA, Experiment

_LOUD: Final = 1e-6
_FELT: Final = 1e-9
_STEPS: Final = (1e-5, 1e-8)
_GROWTH: Final = 10.0

Outputs = tuple[torch.Tensor, ...]


def judged(unit: Experiment, found: Examination, place: Place, changes: Sequence[Change]) -> str:
    """``disagrees`` where a disagreement counts, else ``kink``, ``noise`` or ``nothing``."""
    outcome = found.outcome
    forced = any(change.extreme or change.rewrites for change in changes)
    if not concerns(place, found):
        return NOTHING
    if outcome.nonfinite:
        return NOISE if forced and not abs(outcome.numeric) > _FELT * found.linear.magnitude else DISAGREES
    if any(change.extreme for change in changes) and abs(outcome.gap) <= _LOUD * outcome.scale:
        return NOISE
    return KINK if _steeper_below(unit, found) else DISAGREES


def concerns(place: Place, found: Examination) -> bool:
    """Whether the wrong gradient is one that somebody gave: a parameter's, a hidden activation's, or plain data's where any is given."""
    if place.relevant:
        return True
    given = not place.breakdown or any(part.role != DATA or part.analytic != 0.0 for part in place.breakdown)
    return found.linear.survey.handwritten and given


def stops(seen: Iterable[str]) -> frozenset[str]:
    """What stops gradients on purpose; running without gradients is how every custom function runs and does not count."""
    return frozenset(text for text in seen if not text.startswith("no_grad"))


def _steeper_below(unit: Experiment, found: Examination) -> bool:
    """Whether the slope still grows as the step shrinks: the function changes on a scale below what differences can see."""
    coarse, fine = (abs(central(unit, found.linear, found.along, step)) for step in _STEPS)
    return fine > _GROWTH * coarse and fine > found.outcome.error


def defined(own: Outputs, first: Outputs | None) -> bool:
    """Whether the outputs are finite, or as infinite as they are as the model makes them (a mask of minus infinity)."""
    if all(bool(torch.isfinite(value).all()) for value in own):
        return True
    usual = first is None or not all(bool(torch.isfinite(value).all()) for value in first)
    return usual and not any(bool(torch.isnan(value).any()) for value in own)


def spread(draft: Draft, own: Outputs, first: Outputs | None) -> bool:
    """Whether an axis cut to one keeps its length in an output: other tensors of the module broadcast over it, by accident."""
    if draft.cut is None or first is None:
        return False
    return any(a.dim() > draft.cut and a.shape == b.shape and a.shape[draft.cut] > 1 for a, b in zip(own, first, strict=False))


def alike(whole: Outputs, parts: Sequence[Outputs]) -> bool:
    """Whether each slice of the outputs along the first axis is the output for that slice: the module takes an axis in front as one more
    batch axis, rather than as something else by accident."""
    for number, part in enumerate(parts):
        if len(part) != len(whole):
            return False
        for value, slices in zip(part, whole, strict=True):
            if not slices.dim() or slices.shape[1:] != value.shape or slices.shape[0] != len(parts):
                return False
            if not torch.allclose(slices[number], value, rtol=1e-6, atol=1e-9 * float(value.abs().max()) if value.numel() else 0.0):
                return False
    return True
