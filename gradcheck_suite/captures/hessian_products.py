"""Two Hessian-vector products whose inner products must agree."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HessianProducts:
    """v₁ᵀ H v₂ and v₂ᵀ H v₁ for the Hessian H of Σ u·f² in all inputs and parameters, by differentiating the gradient.

    Attributes:
        first: v₁ᵀ H v₂.
        second: v₂ᵀ H v₁.
        scale: ||v₁|| ||H v₂|| + ||v₂|| ||H v₁||.
        noise: the largest |v₁ᵀ H (k v₂)/k - v₁ᵀ H v₂| for k in {1.1, 0.7, 1.3}.
        epsilon: distance from 1 to the next number in the narrowest format that a differentiated tensor is in.
        module: path of the first module, inner ones first, whose own second derivative is asymmetric, where the products differ;
            ``""`` where there is none, and elsewhere.
        kind: its class.
        alone: its relative asymmetry.
    """

    first: float
    second: float
    scale: float
    noise: float
    epsilon: float
    module: str = ""
    kind: str = ""
    alone: float = 0.0
