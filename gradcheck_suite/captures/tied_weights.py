"""The gradient of every shared parameter against the gradients of its uses, each from a copy of its own, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class TiedWeights:
    """M parameters that several modules, or several calls of one, use; gᵢ is the gradient at the copy given to the i-th use.

    Attributes:
        paths: the first module that owns the parameter (M).
        names: the parameter's name there (M).
        owners: how many modules own it (M), int64.
        uses: how many copies received a gradient (M), int64; what is used outside the owners' calls counts as one.
        residual: ||dL/dW - Σ gᵢ|| over || Σ |gᵢ| || (M).
        ratio: <dL/dW, Σ gᵢ> over ||Σ gᵢ||² (M); NaN where that is zero.
        epsilon: distance from 1 to the next number in the parameter's format (M).
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    owners: np.ndarray
    uses: np.ndarray
    residual: np.ndarray
    ratio: np.ndarray
    epsilon: np.ndarray
