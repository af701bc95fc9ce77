"""The scale of the signal and of its gradient along the depth of a model, over fresh initialisations."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthProfile:
    """N draws of the initialisation, M modules without children in the order in which they first ran.

    Attributes:
        modules: paths of the M modules.
        forward: (N, M) natural logarithm of the root mean square of the module's output; NaN where it is zero or not finite.
        backward: (N, M) natural logarithm of the Euclidean norm of the loss's gradient with respect to that output; NaN where
            no gradient reached it, or where it is zero or not finite.
        vanished: (N, M) bool, the gradient reached the module and is exactly zero.
        overflowed: (N, M) bool, output or gradient is not finite.
        eps: resolution of the dtype of the activations (2^-23 for float32).
        fresh: whether the draws are fresh initialisations; else there is one.
    """

    modules: tuple[str, ...]
    forward: np.ndarray
    backward: np.ndarray
    vanished: np.ndarray
    overflowed: np.ndarray
    eps: float
    fresh: bool

    @property
    def draws(self) -> int:
        """Number of draws."""
        return int(self.forward.shape[0])

    def total(self, logs: np.ndarray) -> np.ndarray:
        """Per draw, the change of a logarithm from the first to the last module, in decades, by least squares over depth.

        NaN where fewer than four modules have a value.
        """
        positions = np.arange(logs.shape[1], dtype=float)
        totals = np.full(logs.shape[0], math.nan)
        for draw, row in enumerate(logs):
            known = np.isfinite(row)
            if known.sum() >= 4:
                slope = np.polyfit(positions[known], row[known], 1)[0]
                totals[draw] = slope * np.ptp(positions[known]) / math.log(10.0)
        return totals
