"""Every pooling layer with disjoint windows alone, at the input it received, with a random cotangent, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingCalls:
    """M layers.

    Attributes:
        paths: modules (M).
        kinds: class names (M).
        window: positions in a window (M), int64.
        ratio: norm of the gradient at the input over that at the output (M).
        expected: what it must be: 1 for a maximum, 1/√window for a mean (M).
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    window: np.ndarray
    ratio: np.ndarray
    expected: np.ndarray
