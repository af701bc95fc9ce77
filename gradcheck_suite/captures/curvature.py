"""The largest curvature of the loss at the starting point, against the step that the optimiser can take there."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Curvature:
    """The largest eigenvalue of the Hessian of the loss.

    Attributes:
        largest: largest Ritz value, in units of the loss over squared parameters.
        error: residual bound on its distance to an eigenvalue.
        products: Hessian-vector products used.
        optimizer: class name of the optimiser.
        learning_rate: of its first group.
        threshold: curvature above which its iteration diverges on a quadratic; NaN where no closed form is known.
        formula: that threshold as a formula.
    """

    largest: float
    error: float
    products: int
    optimizer: str
    learning_rate: float
    threshold: float
    formula: str

    @property
    def excess(self) -> float:
        """log10 of the curvature over the threshold: above 0 steps along the sharpest direction grow."""
        return math.log10(self.largest / self.threshold) if self.largest > 0 and self.threshold > 0 else -math.inf
