"""Small hand-written layers whose gradient is right as it is usually called and wrong in one configuration, and their right twins."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from gradcheck_suite.subject import Batch, Setup, Subject

Gradient = Callable[[Any, Tensor, Tensor], Tensor]


def right(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
    """The derivative of ``x² + scale·x``."""
    return g * (2 * x + ctx.scale)


class Bent(Function):
    """``x² + scale·x`` with a gradient that is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, gradient: Gradient) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale, ctx.gradient = scale, gradient
        return x * x + scale * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return ctx.gradient(ctx, g, ctx.saved_tensors[0]), None, None


class Layer(nn.Module):
    """A ``Bent`` with a setting."""

    def __init__(self, gradient: Gradient = right, scale: float = 1.0) -> None:
        super().__init__()
        self.gradient, self.scale = gradient, scale

    def forward(self, x: Tensor) -> Tensor:
        return Bent.apply(x, self.scale, self.gradient)


def off(when: Callable[[Any, Tensor, Tensor], Any], factor: float = 1.5) -> Gradient:
    """The right gradient, times a factor where ``when(ctx, g, x)`` says so (a flag, or a mask)."""

    def gradient(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        wrong = torch.as_tensor(when(ctx, g, x), dtype=torch.bool)
        return torch.where(wrong, factor * right(ctx, g, x), right(ctx, g, x))

    return gradient


def subject(*modules: nn.Module, x: Tensor | None = None, training: bool = True, intended: dict[str, str] | None = None) -> Subject:
    """A sequence of modules on four rows of three, in float64, without a loss; ``training`` is its mode."""
    given = torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) if x is None else x

    def setup(seed: int) -> Setup:
        torch.manual_seed(seed)
        return Setup(model=nn.Sequential(*modules).double().train(training), batch=Batch((given,)), intended=intended or {})

    return Subject(name="specimen", setup=setup, fresh=False)


def between(layer: nn.Module, **facts: Any) -> Subject:
    """The layer, ``1``, between two dense ones of three units."""
    torch.manual_seed(0)
    return subject(nn.Linear(3, 3), layer, nn.Linear(3, 3), **facts)
