"""Every softmax alone, at the input it received, with a random cotangent, in float64 where the model computes it so."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxCalls:
    """M softmaxes p of scores x over n choices; u is the cotangent, g the gradient at x.

    Attributes:
        paths: modules in which they run (M).
        functions: ``softmax`` for PyTorch's operation, else the class name of the module or ``autograd.Function`` (M).
        sources: ``file:line`` of a hand-written backward pass, else ``""`` (M).
        plain: whether it is PyTorch's operation; the others were recognised by their values (M).
        choices: n (M), int64.
        rows: rows compared (M), int64.
        residual: ||g - p (u - <p, u>)|| over ||p (|u| + <p, |u|>)|| (M).
        growth: the largest ||g|| / ||u|| of all rows, after u was turned three times toward where it grows (M).
        epsilon: distance from 1 to the next number in the format of p (M).
    """

    paths: tuple[str, ...]
    functions: tuple[str, ...]
    sources: tuple[str, ...]
    plain: np.ndarray
    choices: np.ndarray
    rows: np.ndarray
    residual: np.ndarray
    growth: np.ndarray
    epsilon: np.ndarray
