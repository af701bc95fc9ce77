"""Two runs of gradient descent that start next to each other along the sharpest direction of the loss."""

import math
from dataclasses import dataclass

import numpy as np

# The loss stands on one side where it is this close to it, of the way to the other: a gradient that is an approximation on purpose
# is further off.
_SIDES = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplacedDescent:
    """R learning rates, S steps with each.

    The runs start at w + εv and w - εv, with v the direction of the largest curvature found; d is half of what is between them. Where a
    step is not finite, or a discrete choice of the model differs between the runs (a kink lies between them), it and all after it are
    NaN.

    Attributes:
        sharpness: λ, the largest eigenvalue of the Hessian at the start that Lanczos finds.
        residual: bound on its distance to an eigenvalue, ||Hv - λv||.
        products: Hessian-vector products used for it.
        separation: ε.
        rates: (R,) learning rates.
        growth: (R, S) ||d|| after a step over ||d|| before.
        nearer: (R, S) the same for runs that start at ε/8.
        predicted: (R, S) ||d - rate · Hd|| over ||d||, H the Hessian where the run between them stands; |1 - rate · λ| in the first step.
        share: (R, S) rate · ||Hd|| over ||d||: the part that the curvature has in the growth.
        bend: (R, S) how far the middle of the two runs is from the run between them after the step, twice, over ||d|| before.
        rounding: (R, S) eight roundings of the positions and the step between them, over ||d|| before.
        dispute: (R, S) where Hd as the Hessian says differs from the difference of the runs' gradients: where the loss, by differences of
            its own values, stands between the latter (0) and the former (1), with its error and the asymmetry of the gradients' derivative
            added; NaN where they do not differ or the loss cannot tell. A gradient that is no slope of the loss shows here.
    """

    sharpness: float
    residual: float
    products: int
    separation: float
    rates: np.ndarray
    growth: np.ndarray
    nearer: np.ndarray
    predicted: np.ndarray
    share: np.ndarray
    bend: np.ndarray
    rounding: np.ndarray
    dispute: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """(R, S) growth less what is predicted, over the curvature's part."""
        found: np.ndarray = (self.growth - self.predicted) / self.share
        return found

    @property
    def error(self) -> np.ndarray:
        """(R, S) bound on the error of ``deviation``.

        The term of order ε is what the two runs differ in from straight lines (``bend``); what is of order ε², and the rounding of
        the gradients, show in the runs at ε/8, where rounding is eight times as large; that of the positions is bounded; the residual of
        the eigenvector counts in the first step.
        """
        residual = np.zeros_like(self.growth)
        residual[:, 0] = self.rates * self.residual
        total = self.bend + 2 * np.abs(self.growth - self.nearer) + residual + self.rounding
        found: np.ndarray = total / self.share
        return found

    @property
    def judged(self) -> np.ndarray:
        """(R, S) bool, whether a step says something: its error is known, and what deviates is right by the loss itself."""
        deviates = np.abs(self.deviation) > self.error
        found: np.ndarray = np.isfinite(self.error) & (~deviates | (self.dispute < _SIDES))
        return found

    @property
    def factors(self) -> tuple[float, ...]:
        """|1 - rate · λ| for each rate."""
        return tuple(math.fabs(1 - float(rate) * self.sharpness) for rate in self.rates)
