"""First derivatives right, second derivatives wrong: energies and critics trained through their gradient."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .case import Case, Facts, facts


class Cube(Function):
    """``x³``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * g


class CubeConstantSlope(Cube):
    """The slope is detached, as a saved number would be."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0].detach() ** 2 * g


class SoftPlus(Function):
    """``log(1 + exp x)`` with an explicit second Function for its backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.logaddexp(x, torch.zeros_like(x))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return SoftPlusSlope.apply(g, ctx.saved_tensors[0])


class SoftPlusSlope(Function):
    """``g * sigmoid(x)``."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        ctx.save_for_backward(g, s)
        return g * s

    @staticmethod
    def backward(ctx: Any, gg: Tensor) -> tuple[Tensor, Tensor]:
        g, s = ctx.saved_tensors
        return gg * s, gg * g * s * (1 - s)


class WrongSlope(SoftPlusSlope):
    """The curvature with the wrong sign."""

    @staticmethod
    def backward(ctx: Any, gg: Tensor) -> tuple[Tensor, Tensor]:
        g, s = ctx.saved_tensors
        return gg * s, -gg * g * s * (1 - s)


class SoftPlusWrongCurvature(SoftPlus):
    """Its backward's backward has the wrong sign."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return WrongSlope.apply(g, ctx.saved_tensors[0])


class Quadratic(Function):
    """``½ xᵀ A x`` per row, ``A`` not symmetric."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        ctx.save_for_backward(x, a)
        return 0.5 * ((x @ a) * x).sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, a = ctx.saved_tensors
        return 0.5 * g * (x @ a + x @ a.t()), 0.5 * (g * x).t() @ x


class QuadraticFixedMatrix(Quadratic):
    """The matrix is taken out of the graph for the gradient of ``x``."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, a = ctx.saved_tensors
        fixed = a.detach()
        return 0.5 * g * (x @ fixed + x @ fixed.t()), 0.5 * (g * x).t() @ x


class Share(Function):
    """Softmax along the last axis, differentiated through its output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.softmax(x, -1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y = ctx.saved_tensors[0]
        return y * (g - (g * y).sum(-1, keepdim=True))


class ShareConstantMean(Share):
    """The mean that is subtracted is a constant of the second derivative."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y = ctx.saved_tensors[0]
        return y * (g - (g * y.detach()).sum(-1, keepdim=True))


class Unary(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Energy(nn.Module):
    """A quadratic energy."""

    def __init__(self, width: int, function: type[Function]) -> None:
        super().__init__()
        self.matrix, self.function = nn.Parameter(torch.randn(width, width)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.matrix)


def critic(function: type[Function]) -> Facts:
    """The operation in question is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Unary(function), nn.Linear(4, 1)), torch.randn(4, 3))


def energy(function: type[Function]) -> Facts:
    """The operation in question is ``2``."""
    return facts(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Energy(4, function)), torch.randn(3, 3))


def _case(name: str, function: type[Function], right: type[Function], model: Any, module: str, **rest: Any) -> Case:
    build = {"bug": partial(model, function), "twin": partial(model, right), "module": module, "function": function.__name__}
    return Case(**({"id": f"second-order/{name}", "trigger": "second order", "needs": "second order", **build} | rest))


CASES = (
    _case("slope-constant", CubeConstantSlope, Cube, critic, "1"),
    _case("curvature-sign", SoftPlusWrongCurvature, SoftPlus, critic, "1"),
    _case("matrix-fixed", QuadraticFixedMatrix, Quadratic, energy, "2"),
    _case("softmax-mean-constant", ShareConstantMean, Share, critic, "1"),
)
