"""Gradient and signal norms over fresh initialisations, end to end and per layer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradcheck_suite.captures.codec import frozen

_DRAWN = ("ratio", "ratio_batch", "signal", "layer_gradient", "layer_gradient_batch", "layer_signal", "weight_mean", "weight_square",
          "weight_fourth", "weight_gradient", "bias_mean", "bias_square", "input_norm", "concentration")
"""The fields with one entry per draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientNormDraws:
    """Squared norms over N fresh initialisations with a random cotangent u that does not depend on the weights.

    All logarithms are natural, of squared Euclidean norms, unit 1. A "sample" quantity is that of the first sample of the
    batch alone (gradient over the first sample's u, NaN where the first axis is not the batch's); a "batch" quantity
    sums over the whole batch. C leaf calls, W weights (parameters with two axes or more), B biases.

    Attributes:
        paths: module path of each leaf call (C).
        kinds: class or function name (C).
        sizes: output entries per sample (C), int64.
        ratio: log ||∂<u, f>/∂x||²/||u||² for the first sample (N); -inf where the gradient is exactly zero, NaN without floating inputs.
        ratio_batch: likewise over the batch (N).
        signal: log ||f(x)||²/||x||² for the first sample (N).
        layer_gradient: log of the squared gradient with respect to each leaf output over ||u||², first sample (N, C).
        layer_gradient_batch: likewise over the batch (N, C).
        layer_signal: log ||output||²/||x||² of each leaf call, first sample (N, C).
        weights: dotted names (W).
        weight_entries: number of entries (W), int64.
        fan_in: (W), int64.
        fan_out: (W), int64; as torch counts it.
        weight_mean: mean of the entries (N, W).
        weight_square: mean square of the entries (N, W).
        weight_fourth: mean fourth power (N, W).
        weight_gradient: log ||∂<u, f>/∂W||²/||u||² over the batch (N, W).
        biases: dotted names (B).
        bias_entries: (B), int64.
        bias_mean: (N, B).
        bias_square: (N, B).
        input_norm: Euclidean norm of the first sample's inputs (N).
        concentration: Σx⁴/(Σx²)² of the first sample's inputs (N), between 1/n and 1.
        input_size: floating input entries per sample.
        output_size: floating output entries per sample.
        batch: number of samples.
        epsilon: distance from 1 to the next number in the parameters' dtype.
        alpha: bound on the false-alarm rate of a statement about these draws.
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    sizes: np.ndarray
    ratio: np.ndarray
    ratio_batch: np.ndarray
    signal: np.ndarray
    layer_gradient: np.ndarray
    layer_gradient_batch: np.ndarray
    layer_signal: np.ndarray
    weights: tuple[str, ...]
    weight_entries: np.ndarray
    fan_in: np.ndarray
    fan_out: np.ndarray
    weight_mean: np.ndarray
    weight_square: np.ndarray
    weight_fourth: np.ndarray
    weight_gradient: np.ndarray
    biases: tuple[str, ...]
    bias_entries: np.ndarray
    bias_mean: np.ndarray
    bias_square: np.ndarray
    input_norm: np.ndarray
    concentration: np.ndarray
    input_size: int
    output_size: int
    batch: int
    epsilon: float
    alpha: float

    @property
    def draws(self) -> int:
        """Number of initialisations N."""
        return len(self.ratio)

    def parts(self, size: int) -> Iterator["GradientNormDraws"]:
        """The draws dealt out, ``size`` at a time; a rest that is too small is left out."""
        for start in range(0, self.draws - size + 1, size):
            some: dict[str, Any] = {name: frozen(getattr(self, name)[start : start + size]) for name in _DRAWN}
            yield replace(self, **some)

    @property
    def dead(self) -> int:
        """Number of draws whose gradient is exactly zero although the cotangent is not."""
        return int(np.isneginf(self.ratio).sum())

    @property
    def kurtosis(self) -> np.ndarray:
        """Excess kurtosis of each weight about zero over all draws (W): 0 for Gaussian, -1.2 for uniform entries; NaN for constants."""
        mean = self.weight_mean.mean(0)
        square, fourth = self.weight_square.mean(0), self.weight_fourth.mean(0)
        variance = square - mean**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 1e-12 * square, fourth / square**2 - 3, np.nan)
