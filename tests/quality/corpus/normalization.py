"""Normalisation layers of a convolutional stage, a cosine classifier and a weight-standardised convolution."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .case import Case, Facts, facts, mode, setting


class GroupedNorm(Function):
    """Group normalisation of ``(batch, channels, length)`` with a weight per channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        rows = x.reshape(x.shape[0], groups, -1)
        scale = (rows.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        normal = ((rows - rows.mean(-1, keepdim=True)) * scale).reshape(x.shape)
        ctx.save_for_backward(normal, scale, weight)
        return normal * weight[:, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        rows, errors = _rows(normal, scale), _rows(g * weight[:, None], scale)
        x = scale * (errors - errors.mean(-1, keepdim=True) - rows * (errors * rows).mean(-1, keepdim=True))
        return x.reshape(g.shape), (g * normal).sum((0, 2)), None


def _rows(x: Tensor, scale: Tensor) -> Tensor:
    return x.reshape(scale.shape[0], scale.shape[1], -1)


class MeanTermLost(GroupedNorm):
    """The gradient through the mean is missing."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        rows, errors = _rows(normal, scale), _rows(g * weight[:, None], scale)
        _, own, none = GroupedNorm.backward(ctx, g)
        return (scale * (errors - rows * (errors * rows).mean(-1, keepdim=True))).reshape(g.shape), own, none


class WholeLayerCount(GroupedNorm):
    """Means over all channels where they should be over one group's."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        rows, errors = _rows(normal, scale), _rows(g * weight[:, None], scale)
        count = normal[0].numel()
        x = scale * (errors - errors.sum(-1, keepdim=True) / count - rows * (errors * rows).sum(-1, keepdim=True) / count)
        return x.reshape(g.shape), GroupedNorm.backward(ctx, g)[1], None


class UnitWeight(GroupedNorm):
    """The input gradient forgets the weight, which is one at initialisation."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, _ = ctx.saved_tensors
        rows, errors = _rows(normal, scale), _rows(g, scale)
        x = scale * (errors - errors.mean(-1, keepdim=True) - rows * (errors * rows).mean(-1, keepdim=True))
        return x.reshape(g.shape), (g * normal).sum((0, 2)), None


class WeightLengthMean(GroupedNorm):
    """Weight gradient averaged over the length instead of summed."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, none = GroupedNorm.backward(ctx, g)
        return x, (g * ctx.saved_tensors[0]).mean(2).sum(0), none


class Norm(nn.Module):
    """Group normalisation of ``(batch, channels, length)``."""

    def __init__(self, channels: int, groups: int = 1, function: type[Function] = GroupedNorm) -> None:
        super().__init__()
        self.weight, self.groups, self.function = nn.Parameter(torch.ones(channels)), groups, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight, self.groups)


class Stage(nn.Module):
    """Convolution, normalisation, activation, twice, with a skip."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(2, 4, 3, padding=1), Norm(4, function=function)
        self.second, self.head = nn.Conv1d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.second(functional.silu(self.norm(x)))
        return self.head(x.amax(2))


def stage(function: type[Function], *, random_weight: bool = True) -> Facts:
    """The layer in question is ``norm``."""
    model = Stage(function)
    if random_weight:
        nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    return facts(model, torch.randn(3, 2, 5))


def other_weight(found: Facts) -> Facts:
    """A witness: the normalisation's weight off one."""
    nn.init.uniform_(found["model"].norm.weight, 0.5, 1.5)
    return found


class UnitRows(Function):
    """Rows scaled to unit length: ``x / max(‖x‖, eps)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        length = x.norm(dim=-1, keepdim=True)
        ctx.save_for_backward(x, length)
        ctx.eps = eps
        return x / length.clamp_min(eps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, length = ctx.saved_tensors
        unit = x / length.clamp_min(ctx.eps)
        radial = torch.where(length > ctx.eps, (g * unit).sum(-1, keepdim=True), torch.zeros_like(length))
        return (g - unit * radial) / length.clamp_min(ctx.eps), None


class UnitRowsNoFloor(UnitRows):
    """The backward does not know the floor ``eps`` below which rows are only divided."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, length = ctx.saved_tensors
        unit = x / length.clamp_min(ctx.eps)
        return (g - unit * (g * unit).sum(-1, keepdim=True)) / length.clamp_min(ctx.eps), None


class CosineHead(nn.Module):
    """Cosine similarity to learnt prototypes; the rows of the input are scaled first."""

    def __init__(self, width: int, classes: int, function: type[Function], eps: float = 1e-2) -> None:
        super().__init__()
        self.prototypes, self.eps, self.function = nn.Parameter(torch.randn(classes, width)), eps, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.eps) @ functional.normalize(self.prototypes, dim=-1).t()


def cosine(function: type[Function]) -> Facts:
    """Rows of length about two go into the head, and only it."""
    return facts(CosineHead(4, 3, function), torch.randn(5, 4))


def short_row(found: Facts) -> Facts:
    """A witness: one row shorter than the floor."""
    (x,) = found["inputs"]
    return found | {"inputs": (torch.cat([x[:1] * 1e-3, x[1:]]),)}


class StandardizedConv(nn.Conv1d):
    """Convolution whose weight is standardised per output channel."""

    cut = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        spread = weight.std((1, 2), keepdim=True)
        weight = (weight - weight.mean((1, 2), keepdim=True)) / (spread.detach() if self.cut else spread)
        return functional.conv1d(x, weight, self.bias, padding=1)


class CutSpread(StandardizedConv):
    """Treats the standard deviation as a constant."""

    cut = True


def standardized(kind: type[StandardizedConv]) -> Facts:
    """The layer in question is ``2``."""
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ELU(), kind(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    return facts(model, torch.randn(2, 2, 6))


class Renorm(nn.Module):
    """Batch normalisation by running statistics in eval mode, with the statistics' affine part folded there."""

    def __init__(self, width: int, momentum: float = 0.1, *, fold_detached: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.randn(width))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.randn(width) * 0.1)
        self.register_buffer("variance", torch.rand(width) + 0.5)
        self.momentum, self.fold_detached = momentum, fold_detached

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean, variance = x.mean(0), x.var(0, correction=0)
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance, self.momentum)
            return (x - mean) * (variance + 1e-5).rsqrt() * self.weight + self.bias
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fold_detached):
            scale = self.weight * (self.variance + 1e-5).rsqrt()
            shift = self.bias - self.mean * scale
        return x * scale + shift


def renorm(*, fold_detached: bool) -> Facts:
    """In train mode; the layer in question is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Renorm(4, fold_detached=fold_detached), nn.Tanh(), nn.Linear(4, 2)), torch.randn(6, 3))


def _case(name: str, function: type[Function], right: Any, model: Any, module: str, /, **rest: Any) -> Case:
    build = {"bug": partial(model, function), "twin": partial(model, right), "function": function.__name__}
    return Case(**({"id": f"normalization/{name}", "trigger": "always", "module": module, **build} | rest))


CASES = (
    _case("mean-term-lost", MeanTermLost, GroupedNorm, stage, "norm"),
    _case("weight-length-mean", WeightLengthMean, GroupedNorm, stage, "norm", parameter="weight"),
    _case("group-count", WholeLayerCount, GroupedNorm, stage, "norm", trigger="hyper-parameter", needs="configuration",
          witness=setting("norm", groups=2)),
    _case("unit-weight", UnitWeight, GroupedNorm, partial(stage, random_weight=False), "norm", trigger="affine weights",
          needs="configuration", witness=other_weight),
    _case("floor-forgotten", UnitRowsNoFloor, UnitRows, cosine, "", trigger="domain", needs="input", witness=short_row,
          relative_size=2e-2),
    _case("spread-constant", CutSpread, StandardizedConv, standardized, "2", parameter="weight", function=None),
    Case(id="normalization/folded-without-gradient", trigger="mode", bug=partial(renorm, fold_detached=True),
         twin=partial(renorm, fold_detached=False), module="1", needs="configuration", witness=mode(training=False)),
)
