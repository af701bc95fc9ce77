"""What a chain of positively homogeneous layers does when its input or its neurons are rescaled by powers of two."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Homogeneity:
    """R tensors of a chain f with f(cx) = c f(x) for c > 0, a random cotangent u.

    Attributes:
        rows: what the R tensors are.
        output_bits: number of bits in which f(4x) differs from 4 f(x).
        bits: number of bits in which their gradient at 4x differs from what homogeneity says (R), int64: 4 times that at x for weights
            and slopes, the same for inputs, outputs of layers and biases.
        rescaled: number of pairs of matrices whose neurons were rescaled.
        rescaled_output_bits: number of bits in which f differs after the rescaling.
        rescaled_bits: number of bits in which the gradients of parameters differ from the rescaled ones (R), int64; 0 for others.
        weights: which rows are weights that Euler's identity speaks of (R), bool.
        euler: <W, dL/dW> of each weight, in order of execution where they run once (R); 0 for others.
        euler_scale: Σ|W · dL/dW| + Σ|u · f| (R).
        contraction: <u, f>.
        epsilon: distance from 1 to the next number in the model's format.
    """

    rows: Rows
    output_bits: int
    bits: np.ndarray
    rescaled: int
    rescaled_output_bits: int
    rescaled_bits: np.ndarray
    weights: np.ndarray
    euler: np.ndarray
    euler_scale: np.ndarray
    contraction: float
    epsilon: float
