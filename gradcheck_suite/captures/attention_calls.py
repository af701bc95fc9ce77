"""Every multi-head attention alone, at the arguments it received, with a random cotangent, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCalls:
    """M calls: of ``nn.MultiheadAttention`` and its subclasses, and of layers that were declared causal.

    Attributes:
        paths: modules (M).
        kinds: class names (M).
        key_bias: norm of the gradient of the key projection's bias over that of the whole input projection's bias (M); NaN
            where there is none.
        value_sum: ||dL/db_v - W_oᵀ dL/db_o|| over || |W_o|ᵀ Σ|u| ||, b_v the value projection's and b_o the output projection's
            bias, u the cotangent at each position (M); NaN where weights are dropped or biases missing.
        positions: length of the sequence (M), int64.
        forbidden: pairs of positions that a mask or a declaration forbids (M), int64; 0 where there is none.
        leaks: forbidden pairs through which some gradient flows (M), int64.
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    key_bias: np.ndarray
    value_sum: np.ndarray
    positions: np.ndarray
    forbidden: np.ndarray
    leaks: np.ndarray
