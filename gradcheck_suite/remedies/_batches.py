"""Tensors of a batch changed, whatever they are nested in."""

from collections.abc import Callable
from typing import Any

import torch


class Standardised:
    """Floating tensors brought to mean 0 and standard deviation 1: per column of a matrix, over all entries otherwise.

    What does not vary keeps its value; ``count`` is the number of tensors that changed.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, standardised in float64 and given back in its own dtype."""
        if not tensor.is_floating_point() or tensor.numel() < 2:
            return tensor
        wide = tensor.double()
        axes = (0,) if tensor.dim() == 2 and tensor.shape[0] > 2 else tuple(range(tensor.dim()))
        mean, deviation = wide.mean(axes, keepdim=True), wide.std(axes, keepdim=True)
        varies = deviation > torch.finfo(tensor.dtype).eps * wide.abs().amax(axes, keepdim=True)
        scaled = torch.where(varies, (wide - mean) / torch.where(varies, deviation, torch.ones_like(deviation)), wide).to(tensor.dtype)
        self.count += not torch.equal(scaled, tensor)
        return scaled


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nesting of tuples, lists and dicts with ``change`` applied to every tensor in it; anything else stays."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if type(value) in (list, tuple):
        return type(value)(mapped(item, change) for item in value)
    if type(value) is dict:
        return {key: mapped(item, change) for key, item in value.items()}
    return value
