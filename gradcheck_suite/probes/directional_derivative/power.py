"""Power iterations of spectral normalisation, held still: PyTorch treats their vectors as constants of the gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm


def iterating(root: nn.Module) -> list[tuple[nn.Module, Any]]:
    """Modules that make power iterations in their forward pass, each with the object that holds their number."""
    found: list[tuple[nn.Module, Any]] = []
    for module in root.modules():
        if isinstance(module, _SpectralNorm):
            found.append((module, module))
        found += [(module, hook) for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm)]
    return found


@contextmanager
def held(root: nn.Module) -> Iterator[None]:
    """No further iterations: the vectors stay as the recorded pass left them."""
    kept = [(owner, owner.n_power_iterations) for _, owner in iterating(root)]
    try:
        for owner, _ in kept:
            owner.n_power_iterations = 0
        yield
    finally:
        for owner, number in kept:
            owner.n_power_iterations = number
