"""The forward-mode derivative against the backward pass, along one random direction."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjointProducts:
    """<u, J v> by forward mode and <Jᵀ u, v> by the backward pass, v a tangent of all inputs and parameters, u a cotangent of all outputs.

    Attributes:
        forward: <u, J v>.
        backward: <Jᵀ u, v>.
        scale: Σ|u · J v| + Σ|Jᵀ u · v| over all entries.
        epsilon: distance from 1 to the next number in the format used.
        tensors: number of inputs and parameters in the product.
    """

    forward: float
    backward: float
    scale: float
    epsilon: float
    tensors: int
