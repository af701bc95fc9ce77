"""The gradient of the last feed-forward weight of a transformer encoder, for several depths."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDepthSweep:
    """D depths, N initialisations each.

    Attributes:
        depths: numbers of encoder layers (D), int64.
        gradients: natural log of the Frobenius norm of the loss's gradient in the second feed-forward weight of the last layer (N, D).
        norm: ``pre`` or ``post``.
    """

    depths: np.ndarray
    gradients: np.ndarray
    norm: str

    def slope(self) -> tuple[float, float]:
        """Least-squares slope of the log gradient over the log depth, the mean of the draws' slopes, and its standard error."""
        x = np.log(self.depths.astype(float))
        x = x - x.mean()
        slopes = self.gradients @ x / (x @ x)
        return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
