"""Gradient line: the loss after one step of gradient descent, for rates around that at which it stops falling."""

import math

import numpy as np
import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.gradient_line import GradientLine
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.landscape import Landscape, surveyed
from gradcheck_suite.subject import Subject

_LARGEST = 2.0
_RATES = 24
_PASSES = 50
# Gradients are compared at this share of the threshold and less; eight of their digits are trusted there.
_SMALL, _ROUNDED = 1e-3, 1e-8


def gradient_line(subject: Subject, budget: Budget, seed: int) -> GradientLine:
    """The changes of the loss (see ``captures.gradient_line.GradientLine``), in float64, in the mode under test.

    Raises:
        NotApplicable: the subject has no loss, the gradient is zero or not its slope, there is no second derivative, the loss does not
            curve upward along the gradient, the model does not run in float64, or the budget leaves it out.
        SubjectError: the subject failed.
    """
    with surveyed(subject, budget, seed, _PASSES) as landscape:
        there = landscape.derivatives(landscape.start)
        gradient = there.gradient
        squared = float(gradient @ gradient)
        if not 0.0 < squared < math.inf:
            raise NotApplicable("the gradient is zero, or its square is not finite")
        curvature = float(gradient @ there.product(gradient))
        if not curvature > torch.finfo(torch.float64).eps * squared:
            raise NotApplicable("the loss does not curve upward along the gradient: to second order it falls at every rate")
        landscape.require_gradient(there, gradient / math.sqrt(squared))
        multiples = _LARGEST * 0.5 ** np.arange(_RATES)
        rates = 2 * squared / curvature * multiples
        changes, smooth = _changes(landscape, gradient, rates, there.loss)
        slopes = [_slopes(landscape, gradient, float(rate)) / curvature for rate in rates[smooth & (multiples < _SMALL)][:2]]
        known = len(slopes) == 2 and all(map(math.isfinite, slopes))
    return GradientLine(squared=squared, curvature=curvature, loss=there.loss, position=float(landscape.start.norm()),
                        multiples=frozen(multiples), changes=frozen(changes), smooth=frozen(smooth, "|b1"),
                        slopes=slopes[1] if known else math.nan,
                        slopes_error=2 * abs(slopes[0] - slopes[1]) + _ROUNDED if known else math.nan)


def _changes(landscape: Landscape, gradient: torch.Tensor, rates: np.ndarray, loss: float) -> tuple[list[float], np.ndarray]:
    """Changes of the loss at the rates, and whether all choices stay at a rate and at all below it."""
    known = landscape.choices(landscape.start)
    changes, smooth, kept = [], [], True
    for rate in rates[::-1]:
        point = landscape.start - float(rate) * gradient
        kept = kept and landscape.same_choices(known, point)
        try:
            change = landscape.loss(point) - loss
        except NotApplicable:
            change = math.nan
        changes.append(change if math.isfinite(change) else math.nan)
        smooth.append(kept)
    return changes[::-1], np.array(smooth[::-1])


def _slopes(landscape: Landscape, gradient: torch.Tensor, rate: float) -> float:
    """gᵀHg by the difference of gradients at both sides; NaN where one cannot be had."""
    try:
        ahead, behind = (landscape.slope(landscape.start + sign * rate * gradient, gradient) for sign in (1, -1))
    except NotApplicable:
        return math.nan
    return (ahead - behind) / (2 * rate)
