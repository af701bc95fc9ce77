"""Every normalisation layer alone, at the input it received, with a random cotangent, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizationCalls:
    """M layers. A group is a set of entries that share a mean and a variance; s² = variance + ε (mean square + ε for RMS norm).

    For one group let x be its input, m its mean (0 for RMS norm), x̂ = (x - m)/s, g the cotangent times the layer's weight, and g_x the
    gradient with respect to x. Scales contain 1 + |m|/s, by which a large mean worsens the rounding of x - m.

    Attributes:
        paths: modules (M).
        kinds: class names (M).
        centred: whether the mean is taken off (M), bool.
        groups: number of groups (M), int64.
        output_bits: bits in which the output for 2^k x and 4^k ε differs from that for x and ε (M), int64.
        gradient_bits: bits in which 2^k times the gradient there differs from that for x and ε (M), int64.
        euler: the largest |<x - m, g_x> - ε/s² <x̂, g>| over (|x̂| + √n |m|/s) |g| of a group of n entries (M).
        radial: the largest ε/s² of a group: the share of the radial component that ε lets through (M).
        total: the largest |Σ g_x| over (1 + |m|/s) Σ|g|/s of a group; NaN for RMS norm (M).
        contraction: the largest |g_x| s/|g| of a group (M).
        offset: the largest 1 + |m|/s of a group (M).
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    centred: np.ndarray
    groups: np.ndarray
    output_bits: np.ndarray
    gradient_bits: np.ndarray
    euler: np.ndarray
    radial: np.ndarray
    total: np.ndarray
    contraction: np.ndarray
    offset: np.ndarray
