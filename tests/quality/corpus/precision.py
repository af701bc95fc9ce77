"""Right in exact arithmetic, wrong in the precision that is shipped: narrow accumulators, underflow, overflow, lost constants."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .case import Case, Facts, facts


class Project(Function):
    """``x @ weight.T`` whose gradient keeps the width of its arguments."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return g @ weight, g.flatten(0, -2).t() @ x.flatten(0, -2)


class BrainAccumulator(Project):
    """In float32 the weight gradient is accumulated in bfloat16."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _ = Project.backward(ctx, g)
        narrow = torch.bfloat16 if g.dtype == torch.float32 else g.dtype
        rows, errors = ctx.saved_tensors[0].to(narrow), g.to(narrow)
        total = torch.zeros(errors.shape[1], rows.shape[1], dtype=narrow)
        for row, error in zip(rows, errors, strict=True):
            total = total + torch.outer(error, row)
        return x, total.to(g.dtype)


class HalfTraffic(Project):
    """In float32 the input gradient travels in half precision, too small or too large for it or not."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = Project.backward(ctx, g)
        assert x is not None
        return x.half().to(x.dtype) if x.dtype == torch.float32 else x, weight


class Narrow(nn.Module):
    """A projection without bias."""

    def __init__(self, inputs: int, units: int, function: type[Function]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(units, inputs) * inputs**-0.5), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight)


class Scaled(nn.Module):
    """Multiplies by a constant, so that gradients before it are small or large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class InverseRoot(Function):
    """``x * (mean(x²) + eps)^(-1/2)`` per row, with an ``eps`` below what float32 can hold."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * (x.square().mean(-1, keepdim=True) + 1e-30).rsqrt()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x = ctx.saved_tensors[0]
        r = (x.square().mean(-1, keepdim=True) + 1e-30).rsqrt()
        unit = x * r
        return r * (g - unit * (g * unit).mean(-1, keepdim=True))


class InverseRootCubed(InverseRoot):
    """``(mean(x²) + eps)^(-3/2)`` and ``x²`` apart: in float32 one overflows where the other underflows."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x = ctx.saved_tensors[0]
        power = x.square().mean(-1, keepdim=True) + 1e-30
        return g * power.rsqrt() - x * (g * x).mean(-1, keepdim=True) * power**-1.5


class Unary(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def network(function: type[Function], *, rows: int = 64, factor: float = 1.0) -> Facts:
    """In float32; the projection in question is ``2``."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Narrow(4, 4, function), Scaled(factor), nn.Linear(4, 2))
    return facts(model, torch.randn(rows, 3), dtype=torch.float32)


def tiny(function: type[Function]) -> Facts:
    """In float32; the normalisation in question is ``1`` and sees values near 1e-14."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), Unary(function), nn.Linear(4, 2))
    return facts(model, torch.randn(4, 3) * 1e-14, dtype=torch.float32)


def _case(name: str, function: type[Function], right: type[Function], model: Any, module: str, **rest: Any) -> Case:
    build = {"bug": partial(model, function), "twin": partial(model, right), "module": module, "function": function.__name__}
    return Case(**({"id": f"precision/{name}", "trigger": "precision", "needs": "precision", **build} | rest))


CASES = (
    _case("brain-accumulator", BrainAccumulator, Project, network, "2", parameter="weight", relative_size=1e-2),
    _case("half-underflow", HalfTraffic, Project, partial(network, rows=8, factor=1e-7), "2"),
    _case("half-overflow", HalfTraffic, Project, partial(network, rows=8, factor=1e7), "2", relative_size=float("inf")),
    _case("power-overflow", InverseRootCubed, InverseRoot, tiny, "1", relative_size=float("inf")),
)
