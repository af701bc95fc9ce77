"""A plain backward pass against one that recomputes the forward pass instead of keeping it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointedPass:
    """Gradients of T tensors, inputs and parameters, for one random cotangent, from one state and one state of the generators.

    Attributes:
        names: ``input[0]`` or the dotted name of a parameter (T).
        bits: bits in which the gradient with recomputation differs from the plain one (T), int64.
        relative: norm of the difference over the norm of the plain gradient (T).
        repeated_bits: bits in which two plain passes differ, over all tensors.
    """

    names: tuple[str, ...]
    bits: np.ndarray
    relative: np.ndarray
    repeated_bits: int
