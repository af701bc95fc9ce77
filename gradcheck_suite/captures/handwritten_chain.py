"""A whole network of hand-written layers, from its input to its loss and back."""

from dataclasses import dataclass

from gradcheck_suite.captures.handwritten_derivative import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class HandwrittenChain:
    """All layers and the loss as one function; places are named ``layer.parameter``."""

    part: Part
