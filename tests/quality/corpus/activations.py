"""Activations of small networks: implicit layers, a spectral gate, learnt curves; errors at off-default settings and special values."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from .case import Case, Facts, facts, scaled, setting


class Leaky(Function):
    """``x`` where positive, ``slope * x`` elsewhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return torch.where(ctx.saved_tensors[0] > 0, g, ctx.slope * g), None


class LeakyDefaultSlope(Leaky):
    """The slope is written into the backward as 0.01."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return torch.where(ctx.saved_tensors[0] > 0, g, 0.01 * g), None


class Exponential(Function):
    """ELU: ``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere; keeps its output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        y = torch.where(x > 0, x, alpha * torch.expm1(x))
        ctx.save_for_backward(y)
        ctx.alpha = alpha
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.saved_tensors[0]
        return torch.where(y > 0, g, g * (y + ctx.alpha)), None


class ExponentialUnitAlpha(Exponential):
    """``y + 1`` for ``y + alpha``."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.saved_tensors[0]
        return torch.where(y > 0, g, g * (y + 1)), None


class TanhGelu(Function):
    """GELU by its tanh approximation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: float) -> Tensor:
        ctx.save_for_backward(x)
        return functional.gelu(x, approximate="tanh")

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        c = (2 / torch.pi) ** 0.5
        t = torch.tanh(c * (x + 0.044715 * x**3))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)), None


class ExactGeluSlope(TanhGelu):
    """The derivative of the exact GELU."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        density = torch.exp(-0.5 * x * x) * (2 * torch.pi) ** -0.5
        return g * (0.5 * (1 + torch.erf(x * 0.5**0.5)) + x * density), None


class HardSwish(Function):
    """``x * clamp(x + 3, 0, 6) / 6``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: float) -> Tensor:
        ctx.save_for_backward(x)
        return x * (x + 3).clamp(0, 6) / 6

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        inner = (2 * x + 3) / 6
        return g * torch.where(x < -3, torch.zeros_like(x), torch.where(x > 3, torch.ones_like(x), inner)), None


class HardSwishNoCeiling(HardSwish):
    """Above three the derivative goes on as below it."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        return torch.where(x < -3, torch.zeros_like(x), g * (2 * x + 3) / 6), None


class LogCosh(Function):
    """``log cosh x`` in a form that does not overflow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: float) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs() + torch.log1p(torch.exp(-2 * x.abs())) - 0.6931471805599453

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g * torch.tanh(ctx.saved_tensors[0]), None


class LogCoshOverflow(LogCosh):
    """``sinh / cosh``: inf / inf above 710."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        return g * torch.sinh(x) / torch.cosh(x), None


class Sinc(Function):
    """``sin(x) / x``, one at zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _: float) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sinc(x / torch.pi)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        safe = torch.where(x == 0, torch.ones_like(x), x)
        return torch.where(x == 0, torch.zeros_like(g), g * (torch.cos(safe) / safe - torch.sin(safe) / safe**2)), None


class SincAtZero(Sinc):
    """``cos(x)/x - sin(x)/x²``: not a number at zero."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x = ctx.saved_tensors[0]
        return g * (torch.cos(x) / x - torch.sin(x) / x**2), None


class Curve(nn.Module):
    """One activation with one setting of the name it is known by."""

    def __init__(self, function: type[Function], slope: float = 0.01, alpha: float = 1.0) -> None:
        super().__init__()
        self.function, self.slope, self.alpha = function, slope, alpha

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.slope if issubclass(self.function, Leaky) else self.alpha)


class Snake(Function):
    """``x + sin²(a x) / a`` with one ``a`` per channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        ctx.save_for_backward(x, a)
        return x + torch.sin(a * x) ** 2 / a

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, a = ctx.saved_tensors
        slope = g * (x * torch.sin(2 * a * x) / a - torch.sin(a * x) ** 2 / a**2)
        return g * (1 + torch.sin(2 * a * x)), slope.flatten(0, -2).sum(0)


class SnakeNumerator(Snake):
    """The frequency's gradient forgets that it divides, too."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, a = ctx.saved_tensors
        return Snake.backward(ctx, g)[0], (g * x * torch.sin(2 * a * x) / a).flatten(0, -2).sum(0)


class Periodic(nn.Module):
    """The Snake activation of vocoders."""

    def __init__(self, channels: int, function: type[Function] = Snake) -> None:
        super().__init__()
        self.frequency, self.function = nn.Parameter(torch.rand(channels) + 0.5), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.frequency)


class DataEdit(nn.Module):
    """Halves a tanh, in the bug through ``.data``, behind the back of the saved output."""

    def __init__(self, *, through_data: bool) -> None:
        super().__init__()
        self.through_data = through_data

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        if not self.through_data:
            return y * 0.5
        y.data.mul_(0.5)
        return y


def network(curve: nn.Module) -> Facts:
    """The activation in question is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 5), curve, nn.Linear(5, 2)), torch.randn(4, 3))


def filters(function: type[Function]) -> Facts:
    """The activation in question, ``0``, sees the input itself, between -1 and 1 and away from zero."""
    x = (torch.rand(4, 3) * 0.8 + 0.1) * torch.randn(4, 3).sign()
    return facts(nn.Sequential(Curve(function), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), x)


def with_zeros(found: Facts) -> Facts:
    """A witness: a column of zeros."""
    (x,) = found["inputs"]
    return found | {"inputs": (torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], 1),)}


def _case(name: str, function: type[Function], right: type[Function], /, **rest: Any) -> Case:
    build = {"bug": lambda: network(Curve(function)), "twin": lambda: network(Curve(right))}
    return Case(**({"id": f"activations/{name}", "trigger": "always", **build, "module": "1", "function": function.__name__} | rest))


def _first(function: type[Function], right: type[Function], witness: Any) -> dict[str, Any]:
    return {"bug": partial(filters, function), "twin": partial(filters, right), "module": "0", "needs": "input", "witness": witness}


CASES = (
    _case("default-slope", LeakyDefaultSlope, Leaky, trigger="hyper-parameter", needs="configuration", witness=setting("1", slope=0.2)),
    _case("unit-alpha", ExponentialUnitAlpha, Exponential, trigger="hyper-parameter", needs="configuration",
          witness=setting("1", alpha=0.5)),
    _case("exact-gelu-slope", ExactGeluSlope, TanhGelu, relative_size=1e-3),
    _case("no-ceiling", HardSwishNoCeiling, HardSwish, trigger="domain", relative_size=0.3,
          **_first(HardSwishNoCeiling, HardSwish, scaled(9.0))),
    _case("overflow", LogCoshOverflow, LogCosh, trigger="domain", relative_size=float("inf"),
          **_first(LogCoshOverflow, LogCosh, scaled(3000.0))),
    _case("sinc-at-zero", SincAtZero, Sinc, trigger="zeros", relative_size=float("inf"), **_first(SincAtZero, Sinc, with_zeros)),
    _case("snake-frequency", SnakeNumerator, Snake, parameter="frequency", bug=lambda: network(Periodic(5, SnakeNumerator)),
          twin=lambda: network(Periodic(5))),
    _case("edited-through-data", Leaky, Leaky, function=None, bug=lambda: network(DataEdit(through_data=True)),
          twin=lambda: network(DataEdit(through_data=False))),
)
