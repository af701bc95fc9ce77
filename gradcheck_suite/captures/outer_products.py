"""The weight and bias gradient of every linear layer against the outer product of its signals."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterProducts:
    """M linear layers; δ is the gradient at the layer's output, x its input, summed over samples, positions and calls.

    Attributes:
        paths: modules (M).
        calls: number of calls (M), int64.
        weight: ||dL/dW - Σ δ xᵀ|| over ||Σ |δ| |x|ᵀ|| (M).
        weight_ratio: <dL/dW, Σ δ xᵀ> over ||Σ δ xᵀ||² (M); NaN where that is zero.
        bias: ||dL/db - Σ δ|| over ||Σ |δ| || (M); NaN without bias.
        bias_ratio: <dL/db, Σ δ> over ||Σ δ||² (M); NaN without bias.
        epsilon: distance from 1 to the next number in the weight's format (M).
    """

    paths: tuple[str, ...]
    calls: np.ndarray
    weight: np.ndarray
    weight_ratio: np.ndarray
    bias: np.ndarray
    bias_ratio: np.ndarray
    epsilon: np.ndarray
