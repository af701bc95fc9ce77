"""The forward-mode derivative against the backward pass, along one random direction."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjointProducts:
    """<u, J v> by forward mode and <Jᵀ u, v> by the backward pass, v a tangent of all inputs and parameters, u a cotangent of all outputs.

    Attributes:
        forward: <u, J v>.
        backward: <Jᵀ u, v>.
        difference: the central difference of <u, f> along v, taken where the two products disagree; else NaN.
        bend: by how much the one-sided slopes along v differ, Σ|u·(f'₊ - f'₋)|, where the two products disagree; else 0.
        scale: Σ|u · J v| + Σ|Jᵀ u · v| over all entries.
        noise: the largest |<Jᵀ(ku), v>/k - <Jᵀu, v>| for k in {1.1, 0.7, 1.3}: what rounding inside the model makes of the product.
        epsilon: distance from 1 to the next number in the narrowest format that a differentiated tensor is in.
        tensors: number of inputs and parameters in the product.
    """

    forward: float
    backward: float
    difference: float
    scale: float
    noise: float
    epsilon: float
    tensors: int
    bend: float = 0.0
