"""Asymmetry: which module, run alone on what it was given, has a second derivative that is not symmetric."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.seeds import derive
from gradcheck_suite.numerics.rounding import resolution
from gradcheck_suite.probes.execution import differentiable, floating, hookable
from gradcheck_suite.probes.gradient_rows import norm, products
from gradcheck_suite.subject import Batch, Setup

Tensor = torch.Tensor
_MOST = 256
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Asymmetric:
    """A module: its path, its class, and the relative asymmetry of its second derivative."""

    module: str
    kind: str
    asymmetry: float


def asymmetric_module(setup: Setup, seed: int) -> Asymmetric | None:
    """The first module, inner ones before those around them, whose own second derivative is asymmetric beyond √ε; ``None``: none is.

    Each module is run again on copies of its arguments with their strides, for it may be right in one layout and wrong in another.
    Modules that cannot be run again, or differentiated twice, are passed over, and so is the model itself. The caller keeps the state.
    """
    for path, module, given in _calls(setup):
        with suppress(*FAILURES):
            found = asymmetry(module, given, seed)
            if found > resolution(torch.finfo(torch.float64).eps):
                return Asymmetric(path, type(module).__name__, found)
    return None


def _calls(setup: Setup) -> list[tuple[str, nn.Module, Batch]]:
    """The first call of each module below the model, with its arguments, in the order in which they returned."""
    seen: dict[str, tuple[str, nn.Module, Batch]] = {}
    handles = []

    def keep(path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if path not in seen and len(seen) < _MOST:
            given, _ = differentiable(Batch(args, kwargs))
            seen[path] = (path, module, given)

    for path, module in hookable(setup.model):
        if path:
            hook = lambda own, args, kwargs, _, path=path: keep(path, own, args, kwargs)  # noqa: E731
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        with suppress(*FAILURES):
            setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen.values())


def asymmetry(module: nn.Module, given: Batch, seed: int) -> float:
    """|v₁ᵀHv₂ - v₂ᵀHv₁| over ||v₁|| ||Hv₂|| + ||v₂|| ||Hv₁||, H the Hessian of Σ u·f² in inputs and parameters; 0 where H is zero.

    The larger of two: of Σ u·f², and of Σ u·(s·f)² in the factors s, all one, as well. These stand for what follows the module: what
    its backward pass ignores of that shows in them alone. Without them the gradients that come back are laid out in other ways.

    Raises:
        RuntimeError: the module cannot be run again, or has no second derivative.
    """
    return max(_asymmetry(module, given, seed, followed) for followed in (False, True))


def _asymmetry(module: nn.Module, given: Batch, seed: int, followed: bool) -> float:
    generator = torch.Generator().manual_seed(derive(seed, "asymmetry"))
    batch, leaves = differentiable(given)
    variables = [*leaves, *(p for p in module.parameters() if p.requires_grad)]
    outputs = [y for y in floating(module.forward(*batch.args, **batch.kwargs)) if y.requires_grad and not y.is_complex()]
    if not outputs or not variables:
        return 0.0
    if followed:
        factors = [torch.ones_like(y, requires_grad=True) for y in outputs]
        outputs = [s * y for s, y in zip(factors, outputs, strict=True)]
        variables += factors
    value = torch.stack([(_drawn(y, generator) * y.square()).sum() for y in outputs]).sum()
    gradient = torch.autograd.grad(value, variables, create_graph=True, allow_unused=True)
    rows = [(g, x) for g, x in zip(gradient, variables, strict=True) if g is not None and g.requires_grad]
    if not rows:
        return 0.0
    (v1, h1), (v2, h2) = (_product(rows, generator) for _ in range(2))
    scale = _size(v1) * _size(h2) + _size(v2) * _size(h1)
    return abs(_inner(v1, h2) - _inner(v2, h1)) / scale if scale else 0.0


def _product(rows: list[tuple[Tensor, Tensor]], generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    """A random direction v and Hv."""
    along = [_drawn(x, generator) for _, x in rows]
    total = torch.stack([(g * v).sum() for (g, _), v in zip(rows, along, strict=True)]).sum()
    found = torch.autograd.grad(total, [x for _, x in rows], retain_graph=True, allow_unused=True)
    return along, [torch.zeros_like(x) if h is None else h.to_dense() for h, (_, x) in zip(found, rows, strict=True)]


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    """A random tensor with the strides of another: operations go wrong in one layout and not in another."""
    return torch.empty_like(like, requires_grad=False).copy_(torch.randn(like.shape, generator=generator, dtype=torch.float64))


def _size(group: list[Tensor]) -> float:
    return math.sqrt(sum(norm(tensor) ** 2 for tensor in group))


def _inner(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float(products(a, b).sum()) for a, b in zip(one, other, strict=True))
