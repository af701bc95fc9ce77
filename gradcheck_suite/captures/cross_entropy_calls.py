"""Every cross entropy alone, at the logits it received, with a random cotangent, in float64 where it runs in it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropyCalls:
    """M cross entropies Σ_c q_c (-log p_c) per row; p is the softmax of the logits over C classes, q the target's weight on each class.

    What must be is c (Σq p - q) in every row, c the cotangent that the reduction leaves it.

    Attributes:
        paths: modules in which they run, ``None`` in the loss (M).
        functions: ``cross_entropy`` for PyTorch's, else the name of the loss or of the ``autograd.Function`` (M).
        sources: ``file:line`` of a hand-written backward pass, else ``""`` (M).
        plain: whether it is PyTorch's; the others were recognised by their values (M).
        classes: C (M), int64.
        rows: samples and positions compared (M), int64.
        weighted: whether class weights divide a mean (M).
        residual: ||g - c (Σq p - q)|| over ||c (Σq p + q)||, g the gradient at the logits (M).
        row_sum: the norm of the sums of g over the classes, over that of the sums of |c| (Σq p + q) (M).
        length: the largest ||g|| / |c Σq| of all rows (M); NaN where targets have negative entries.
        ratio: <g, c (Σq p - q)> over ||c (Σq p - q)||² (M); NaN where that is zero.
        epsilon: distance from 1 to the next number in the logits' format (M).
    """

    paths: tuple[str | None, ...]
    functions: tuple[str, ...]
    sources: tuple[str, ...]
    plain: np.ndarray
    classes: np.ndarray
    rows: np.ndarray
    weighted: np.ndarray
    residual: np.ndarray
    row_sum: np.ndarray
    length: np.ndarray
    ratio: np.ndarray
    epsilon: np.ndarray
