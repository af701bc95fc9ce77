"""Displaced descent: gradient descent from points next to each other along the sharpest direction of the loss."""

import math

import numpy as np
import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.displaced_descent import DisplacedDescent
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.curvature import sharpest
from gradcheck_suite.probes.landscape import Landscape, surveyed
from gradcheck_suite.subject import Subject

Tensor = torch.Tensor
Row = tuple[float, float, float, float, float, float, float]
_PRODUCTS = 20
_STEPS = 3
_MULTIPLES = (0.95, 1.05)
_SEPARATIONS = (1e-6, 1e-8, 1e-9)
_NEARER = 8.0
_RESOLVED = 0.1
# Roundings of positions and of steps that a difference of two positions is given.
_ROUNDINGS, _UNIT = 8.0, 2.0**-53
# Two vectors that differ by less than this share are the same.
_SAME = 1e-5
# Distances at which the loss is asked, relative to the parameters.
_DISTANCES = (1e-3, 1e-4, 1e-5)
_PASSES = 120


def displaced_descent(subject: Subject, budget: Budget, seed: int) -> DisplacedDescent:
    """Runs with 0.95 and 1.05 of the rate 2/λ, the stability threshold (see ``captures.displaced_descent.DisplacedDescent``).

    Raises:
        NotApplicable: the subject has no loss, no direction of positive curvature is found, the gradient is not the loss's slope, there
            is no second derivative or no smooth neighbourhood, the model does not run in float64, or the budget leaves it out.
        SubjectError: the subject failed.
    """
    with surveyed(subject, budget, seed, _PASSES) as landscape:
        there = landscape.derivatives(landscape.start)
        top = sharpest(there.product, there.gradient.numel(), _PRODUCTS, derive(seed, "direction"))
        if not top.value > 0:
            raise NotApplicable("no direction of positive curvature was found")
        if not top.error < _RESOLVED * top.value:
            raise NotApplicable(f"the sharpest direction is not resolved: {top.value:.3g} ± {top.error:.2g} after {top.products} products")
        length = float(there.gradient.norm())
        landscape.require_gradient(there, top.vector, *([there.gradient / length] if length > 0 else []))
        size = max(1e-3, float(landscape.start.norm()))
        separation = next((part * size for part in _SEPARATIONS if landscape.is_smooth(landscape.start, part * size * top.vector)), None)
        if separation is None:
            raise NotApplicable("a kink of the loss lies at the start")
        rates = [multiple * 2 / top.value for multiple in _MULTIPLES]
        tables = np.array([_run(landscape, separation * top.vector, rate) for rate in rates])
    growth, nearer, predicted, share, bend, rounding, dispute = (frozen(tables[:, :, column]) for column in range(7))
    return DisplacedDescent(sharpness=top.value, residual=top.error, products=top.products, separation=separation, rates=frozen(rates),
                            growth=growth, nearer=nearer, predicted=predicted, share=share, bend=bend, rounding=rounding, dispute=dispute)


def _run(landscape: Landscape, displacement: Tensor, rate: float) -> list[Row]:
    """One row per step: growth, growth nearer by, prediction, the curvature's part, bend, rounding, dispute."""
    middle = landscape.start
    ends = [(middle + part * displacement, middle - part * displacement) for part in (1.0, 1 / _NEARER)]
    rows: list[Row] = []
    while len(rows) < _STEPS:
        before = [(above - below) / 2 for above, below in ends]
        sizes = [float(half.norm()) for half in before]
        if not all(0 < size < math.inf for size in sizes):
            break
        try:
            if not landscape.is_smooth(middle, before[0]):
                break
            curved, start = landscape.derivatives(middle).product(before[0]), middle
            middle, *moved = [landscape.stepped(point, rate) for point in (middle, *ends[0], *ends[1])]
        except (NotApplicable, SubjectError):
            break  # where the first steps lead it may have no derivatives; what is measured stays
        ends = [(moved[0], moved[1]), (moved[2], moved[3])]
        halves = [(above - below) / 2 for above, below in ends]
        after = [float(half.norm()) for half in halves]
        row = (after[0] / sizes[0], after[1] / sizes[1], float((before[0] - rate * curved).norm()) / sizes[0],
               rate * float(curved.norm()) / sizes[0], float((ends[0][0] - 2 * middle + ends[0][1]).norm()) / sizes[0],
               _ROUNDINGS * _UNIT * float(start.norm() + middle.norm() + (middle - start).norm()) / sizes[0],
               _dispute(landscape, start, before[0], (before[0] - halves[0]) / rate, curved))
        if not all(map(math.isfinite, row[:-1])) or row[3] == 0:
            break
        rows.append(row)
    return rows + [(math.nan,) * 7] * (_STEPS - len(rows))


def _dispute(landscape: Landscape, point: Tensor, displacement: Tensor, slopes: Tensor, curved: Tensor) -> float:
    """Where the loss stands between what the gradients of two runs say of Hd (0) and what the Hessian says (1), with its error added.

    It is asked for the component in which they differ; NaN where they hardly do, or the loss cannot tell. The derivative of a true
    gradient is symmetric: what the gradients say with the two directions exchanged has to be the same.
    """
    gap = curved - slopes
    if float(gap.norm()) <= _SAME * float(curved.norm()):
        return math.nan
    along, across, around = displacement / displacement.norm(), gap / gap.norm(), max(1e-3, float(point.norm()))
    said, width = float(across @ slopes) / float(displacement.norm()), float(gap.norm()) / float(displacement.norm())
    found = math.nan
    for part in _DISTANCES:
        try:
            near, far = (landscape.mixed(point, along, across, size * around) for size in (part / 2, part))
            ahead, behind = (landscape.slope(point + sign * part * around * across, along) for sign in (1, -1))
        except NotApplicable:
            continue
        exchanged = (ahead - behind) / (2 * part * around)
        gap_here = (max(abs(near - said), abs(exchanged - said)) + 2 * abs(near - far)) / width
        found = gap_here if math.isnan(found) or gap_here < found else found
    return found
