"""Every recurrent layer alone, at the sequence it received, in float64: single layers that run forward in time."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentCalls:
    """M layers over T steps; the cotangent is random at the last step and zero before.

    Attributes:
        paths: modules (M).
        kinds: ``RNN``, ``LSTM`` or ``GRU`` (M).
        steps: T (M), int64.
        excess: of an RNN the largest log of ||dL/dx_t|| over its bound σ(W_ih) σ(W_hh)^(T-t) ||u||, over t (M); NaN for others.
        radius: largest singular value of W_hh of an RNN (M); NaN for others.
        residual: with W_hh set to zero, the largest ||dL/dx_t - closed form|| over the norm of the whole gradient, over t (M).
        gate: with W_hh set to zero, the geometric mean of the gate that carries the state (forget gate, update gate) (M); 0 for an RNN.
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    steps: np.ndarray
    excess: np.ndarray
    radius: np.ndarray
    residual: np.ndarray
    gate: np.ndarray
