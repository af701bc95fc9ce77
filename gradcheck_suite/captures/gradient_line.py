"""The loss along its steepest descent: where first and second derivative say that one step stops paying."""

import math
from dataclasses import dataclass

import numpy as np

_ROUNDINGS = 16.0
_UNIT = 2.0**-53


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientLine:
    """The loss f at the start and after one step of gradient descent with K rates, each half of the one before.

    Attributes:
        squared: ||g||², in units of the loss over a rate.
        curvature: gᵀHg, in units of the loss over a squared rate; positive.
        loss: f before the step.
        position: ||w||, the length of all parameters together.
        multiples: (K,) rates as multiples of the threshold 2||g||²/gᵀHg, beyond which the second order says that the loss rises.
        changes: (K,) f after the step less f before; NaN where it is not finite.
        slopes: gᵀHg by differences of the gradient, over gᵀHg; NaN where it could not be had.
        slopes_error: bound on its error.
        smooth: (K,) bool, whether no discrete choice of the model (which side of a kink) changes at this or any smaller rate.
    """

    squared: float
    curvature: float
    loss: float
    position: float
    multiples: np.ndarray
    changes: np.ndarray
    smooth: np.ndarray
    slopes: float = math.nan
    slopes_error: float = math.nan

    @property
    def threshold(self) -> float:
        """The rate 2||g||²/gᵀHg."""
        return 2 * self.squared / self.curvature

    @property
    def ratio(self) -> np.ndarray:
        """(K,) what the change of the loss has beyond the first order, over ½ rate² gᵀHg: 1 to second order."""
        rates = self.multiples * self.threshold
        found: np.ndarray = (self.changes + rates * self.squared) / (0.5 * rates**2 * self.curvature)
        return found

    @property
    def error(self) -> np.ndarray:
        """(K,) bound on what higher orders and rounding do to ``ratio``; infinite where it is not known.

        For a smooth loss the ratio is 1 + a·rate + O(rate²). Halving the rate shows a·rate/2, halving it again half of that: twice the
        larger of the two estimates of a·rate is taken, so that the next order may be as large as this one. Sixteen roundings of both
        losses are added, and of the position.
        """
        first, second = np.full(self.ratio.shape, np.inf), np.full(self.ratio.shape, np.inf)
        first[:-1] = 2 * np.abs(self.ratio[:-1] - self.ratio[1:])
        second[:-2] = 4 * np.abs(self.ratio[1:-1] - self.ratio[2:])
        rates = self.multiples * self.threshold
        moved = math.sqrt(self.squared) * self.position
        rounding = _ROUNDINGS * _UNIT * (2 * abs(self.loss) + np.abs(self.changes) + moved) / (0.5 * rates**2 * self.curvature)
        total = 2 * np.maximum(first, second) + rounding
        found: np.ndarray = np.where(self.smooth & np.isfinite(total), total, np.inf)
        return found
