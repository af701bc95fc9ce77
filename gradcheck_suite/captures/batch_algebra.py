"""The gradient of a batch against the gradients of its samples, and against that of the batch in another order."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAlgebra:
    """R tensors, B samples, evaluation mode, float64. Gradients are those of a random cotangent with a row per sample.

    For a parameter g is one sum over samples; for a layer's output or an input it is compared row by row.

    Attributes:
        rows: what the R tensors are.
        samples: B.
        gap: largest difference between an output of the batch and that of the sample alone, over the outputs' root mean square.
        permuted_gap: largest difference between the outputs of the permuted batch, put back in order, and those of the batch, likewise.
        residual: ||g - Σ g_i||, g_i the gradient of sample i alone (R).
        scale: Σ ||g_i|| (R).
        permuted_residual: ||g of the permuted batch - g||, rows put back in order (R).
        permuted_scale: ||g|| (R).
        noise: the largest ||g(kU) - k g(U)|| for k in {1.1, 0.7, 1.3}, per unit k (R).
        epsilon: distance from 1 to the next number in the narrowest format that a differentiated tensor is in.
        other_residual: the residual with the model in float32; NaN where it was not asked for, because every residual is within its
            tolerance, or the model does not run there (R).
        other_permuted_residual: the same of the permuted residual (R).
        contiguous_residual: the residual where every layer is handed its gradient contiguous in memory; NaN like ``other_residual`` (R).
    """

    rows: Rows
    samples: int
    gap: float
    permuted_gap: float
    residual: np.ndarray
    scale: np.ndarray
    permuted_residual: np.ndarray
    permuted_scale: np.ndarray
    noise: np.ndarray
    epsilon: float
    other_residual: np.ndarray
    other_permuted_residual: np.ndarray
    contiguous_residual: np.ndarray
