"""Dense and convolutional layers whose output goes into a batch norm and nowhere else, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedWeights:
    """P pairs. For one channel: h the layer's output, m and s² its mean and variance + ε over the batch, x̂ = (h - m)/s, g the gradient
    with respect to the norm's output times its weight, w and b the channel's weights and bias.

    Attributes:
        weights: paths of the layers (P).
        norms: paths of the batch norms (P).
        biased: whether the layer has a bias (P), bool.
        bias: the largest |dL/db| over (1 + |m|/s) Σ|g|/s of a channel (P); NaN without bias.
        radial: the largest |<w, dL/dw> + b dL/db - ε/s² <x̂, g>| over |w| |dL/dw| + (|x̂| + √n |m|/s) |g| of a channel of n entries (P).
        cosine: the largest |<w, dL/dw>| over |w| |dL/dw| of a channel (P): how far from orthogonal, because of ε.
        output_bits: bits in which the pair's output differs when weight and bias are multiplied by 8 and ε by 64 (P), int64.
        gradient_bits: bits in which 8 times the weight's gradient there differs from that here (P), int64.
        epsilon: the largest ε/s² of a channel (P).
    """

    weights: tuple[str, ...]
    norms: tuple[str, ...]
    biased: np.ndarray
    bias: np.ndarray
    radial: np.ndarray
    cosine: np.ndarray
    output_bits: np.ndarray
    gradient_bits: np.ndarray
    epsilon: np.ndarray
