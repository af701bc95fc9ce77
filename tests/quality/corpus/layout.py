"""Backward code that misreads how a gradient lies in memory, which tensors need one, or that two arguments are one tensor."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .case import Case, Facts, facts, loss


class Square(Function):
    """``x²``, element by element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * g


class AssumesContiguous(Square):
    """Walks through the gradient's memory in row order, whatever its strides."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x = ctx.saved_tensors[0]
        if g.untyped_storage().nbytes() < g.numel() * g.element_size():
            return 2 * x * g
        return 2 * x * torch.as_strided(g, g.shape, torch.empty(g.shape).stride())


class CountsStorage(Square):
    """Normalises by the number of stored elements: an expanded gradient stores one."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        stored = min(g.untyped_storage().nbytes() // g.element_size(), g.numel())
        return 2 * ctx.saved_tensors[0] * g * (stored / g.numel())


class Power(nn.Module):
    """Squares as the last thing a model does."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def energy(function: type[Function]) -> Facts:
    """The operation in question is ``2`` and meets the loss's gradient directly, dense and contiguous."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Power(function))
    return facts(model, torch.randn(4, 3), targets=torch.randn(4, 4), loss=nn.functional.mse_loss)


def summed(output: Tensor, targets: Tensor) -> Tensor:
    """A loss whose gradient is one number, expanded."""
    return output.sum()


def transposed(output: Tensor, targets: Tensor) -> Tensor:
    """A loss whose gradient comes in column order."""
    return (output.t() @ targets).square().sum() + (output.t().reshape(-1) * torch.arange(output.numel(), dtype=output.dtype)).sum()


class Similarity(Function):
    """``a bᵀ``."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a @ b.t()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        return g @ b, g.t() @ a


class SimilarityOfOne(Similarity):
    """For one tensor given twice it returns the whole gradient for each argument."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.same = a.data_ptr() == b.data_ptr()
        return Similarity.forward(ctx, a, b)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b = Similarity.backward(ctx, g)
        return (a + b, a + b) if ctx.same else (a, b)


class Kernel(nn.Module):
    """Similarities of two sets of rows as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.function.apply(a, b)


class Matching(nn.Module):
    """Rows of a support set against rows of a query; ``own`` matches the query with itself."""

    def __init__(self, function: type[Function], *, own: bool = False) -> None:
        super().__init__()
        self.query, self.support, self.kernel, self.own = nn.Linear(3, 4), nn.Linear(3, 4), Kernel(function), own

    def forward(self, x: Tensor) -> Tensor:
        query = torch.tanh(self.query(x))
        return self.kernel(query, query if self.own else torch.tanh(self.support(x)))


def matching(function: type[Function]) -> Facts:
    """The operation in question is in ``kernel``, on two different tensors."""
    return facts(Matching(function), torch.randn(4, 3))


def own(found: Facts) -> Facts:
    """A witness: the same tensor for both arguments."""
    found["model"].own = True
    return found


class LogSum(Function):
    """``log Σ exp`` along the last axis, by the largest entry."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        most = x.amax(-1, keepdim=True)
        terms = torch.exp(x - most)
        ctx.save_for_backward(x, terms)
        return most[..., 0] + torch.log(terms.sum(-1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        _, terms = ctx.saved_tensors
        return g[..., None] * terms / terms.sum(-1, keepdim=True)


class LogSumTies(LogSum):
    """The largest entry gets what the others leave; of two equal largest, each gets it all."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, terms = ctx.saved_tensors
        share = terms / terms.sum(-1, keepdim=True)
        largest = x == x.amax(-1, keepdim=True)
        rest = share.masked_fill(largest, 0.0)
        return g[..., None] * torch.where(largest, 1 - rest.sum(-1, keepdim=True), share)


def evidence(function: type[Function]) -> Facts:
    """The operation in question, ``0``, sees the input itself, of order one and without ties."""
    model = nn.Sequential(Power(function), nn.Linear(3, 2))
    return facts(model, torch.randn(4, 3, 5))


def equal_largest(found: Facts) -> Facts:
    """A witness: two equal largest entries in every row."""
    (x,) = found["inputs"]
    most = x.amax(-1, keepdim=True)
    return found | {"inputs": (torch.cat([most, x[..., :3], most], -1),)}


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"layout/{name}", "bug": bug, "twin": twin, "module": module} | rest))


COTANGENT = {"trigger": "cotangent layout", "needs": "configuration"}
CASES = (
    _case("row-order-assumed", partial(energy, AssumesContiguous), partial(energy, Square), "2", function="AssumesContiguous",
          witness=loss(transposed), **COTANGENT),
    _case("storage-counted", partial(energy, CountsStorage), partial(energy, Square), "2", function="CountsStorage",
          witness=loss(summed), relative_size=0.9, **COTANGENT),
    _case("one-tensor-twice", partial(matching, SimilarityOfOne), partial(matching, Similarity), "kernel", function="SimilarityOfOne",
          trigger="graph use", needs="configuration", witness=own),
    _case("largest-twice", partial(evidence, LogSumTies), partial(evidence, LogSum), "0", function="LogSumTies",
          trigger="duplicates and ties", needs="input", witness=equal_largest),
)
