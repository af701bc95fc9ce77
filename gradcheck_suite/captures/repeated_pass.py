"""The same forward and backward pass twice, from the same state and generators, and the same backward pass twice."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedPass:
    """What differed between two passes, for R tensors: outputs of leaf layers, inputs and parameters.

    Attributes:
        rows: what the R tensors are.
        output_bits: bits in which the model's floating outputs differ between two passes from the same state.
        forward_bits: bits in which a leaf layer's output differs between the two (R), int64; 0 for inputs and parameters.
        bits: bits in which the gradient differs between the two (R), int64.
        relative: largest |difference| of an entry of the gradient over its root mean square (R); 0 where the bits agree.
        again_bits: bits in which the gradient differs between two backward passes through one graph, generators running on (R),
            int64; all 0 where the graph cannot be used twice.
        again_relative: as ``relative``, for these (R).
        epsilon: distance from 1 to the next number in each tensor's format (R).
        training: mode of the model.
    """

    rows: Rows
    output_bits: int
    forward_bits: np.ndarray
    bits: np.ndarray
    relative: np.ndarray
    again_bits: np.ndarray
    again_relative: np.ndarray
    epsilon: np.ndarray
    training: bool
