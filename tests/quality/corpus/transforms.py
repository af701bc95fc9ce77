"""Geometry, signals and constrained parameters: special points of smooth maps, domains, mixed derivatives, solver gradients."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .case import Case, Facts, drawn, facts, scaled, setting


class Rotation(nn.Module):
    """Rotates points by one learnt axis-angle vector (Rodrigues), in the bug with a naive ``where`` at the zero angle."""

    def __init__(self, *, guarded: bool, at_zero: bool = False) -> None:
        super().__init__()
        self.vector, self.guarded = nn.Parameter(torch.zeros(3) if at_zero else torch.randn(3)), guarded

    def forward(self, points: Tensor) -> Tensor:
        squared = self.vector.square().sum()
        still = squared == 0
        angle = (torch.where(still, torch.ones_like(squared), squared) if self.guarded else squared).sqrt()
        a = torch.where(still, torch.ones_like(angle), torch.sin(angle) / angle)
        b = torch.where(still, torch.full_like(angle, 0.5), (1 - torch.cos(angle)) / angle**2)
        cross = torch.linalg.cross(self.vector.expand_as(points), points)
        return points + a * cross + b * torch.linalg.cross(self.vector.expand_as(points), cross)


def registration(*, guarded: bool, at_zero: bool = False) -> Facts:
    """Points to register; the rotation is ``1``."""
    model = nn.Sequential(nn.Linear(3, 3), Rotation(guarded=guarded, at_zero=at_zero))
    return facts(model, torch.randn(5, 3), targets=torch.randn(5, 3), loss=functional.mse_loss)


def no_rotation(found: Facts) -> Facts:
    """A witness: the rotation at rest, as it is initialised in practice."""
    with torch.no_grad():
        found["model"][1].vector.zero_()
    return found


class Tone(Function):
    """Gamma curve of an image limited to values from 0 to 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor) -> Tensor:
        ctx.save_for_backward(x, gamma)
        return x.clamp(0, 1) ** gamma

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, gamma = ctx.saved_tensors
        inside = (x > 0) & (x < 1)
        safe = torch.where(x > 0, x.clamp(max=1), torch.ones_like(x))
        return torch.where(inside, g * gamma * safe ** (gamma - 1), torch.zeros_like(g)), (g * x.clamp(0, 1) ** gamma * safe.log()).sum()


class ToneUnlimited(Tone):
    """Lets the gradient pass where the values were limited."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, gamma = ctx.saved_tensors
        return g * gamma * x.abs() ** (gamma - 1), Tone.backward(ctx, g)[1]


class Exposure(nn.Module):
    """A learnt gamma curve."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.gamma, self.function = nn.Parameter(torch.tensor(1.7)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.gamma)


def camera(function: type[Function]) -> Facts:
    """Images with values inside (0, 1); the curve is ``0``."""
    model = nn.Sequential(Exposure(function), nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(8, 2))
    return facts(model, torch.rand(2, 1, 4, 4) * 0.8 + 0.1)


class PowerMean(Function):
    """Generalised-mean pooling ``(mean xᵖ)^(1/p)`` over the last axis for positive values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mean = (x**p).mean(-1)
        ctx.save_for_backward(x, mean)
        ctx.p = p
        return mean ** (1 / p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        return (g * mean ** (1 / ctx.p - 1))[..., None] * x ** (ctx.p - 1) / x.shape[-1], None


class PowerMeanOfThree(PowerMean):
    """The usual exponent, three, written into the backward."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, mean = ctx.saved_tensors
        return (g * mean ** (1 / 3 - 1))[..., None] * x**2 / x.shape[-1], None


class Pooling(nn.Module):
    """Generalised-mean pooling."""

    def __init__(self, p: float = 3.0, function: type[Function] = PowerMean) -> None:
        super().__init__()
        self.p, self.function = p, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(functional.softplus(x), self.p)


def retrieval(function: type[Function]) -> Facts:
    """The pooling is ``1``."""
    return facts(nn.Sequential(nn.Conv1d(2, 3, 2), Pooling(function=function), nn.Linear(3, 2)), torch.randn(2, 2, 6))


class Implicit(Function):
    """The fixed point ``z = tanh(W z + x)`` with the implicit-function gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        for _ in range(80):
            z = torch.tanh(z @ weight.t() + x)
        ctx.save_for_backward(z, weight)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        z, weight = ctx.saved_tensors
        return _implicit(z, weight, g, terms=80)


def _implicit(z: Tensor, weight: Tensor, g: Tensor, *, terms: int) -> tuple[Tensor, Tensor]:
    slope = 1 - z * z
    total = g
    for _ in range(terms):
        total = g + (total * slope) @ weight
    error = total * slope
    return error, error.t() @ z


class ImplicitOneStep(Implicit):
    """One term of the Neumann series, as if the state before the last step were a constant."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        z, weight = ctx.saved_tensors
        return _implicit(z, weight, g, terms=0)


class Equilibrium(nn.Module):
    """A deep-equilibrium layer whose weight contracts."""

    def __init__(self, width: int, function: type[Function]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(width, width) * 0.15), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight)


def equilibrium(function: type[Function]) -> Facts:
    """The layer is ``1``."""
    return facts(nn.Sequential(nn.Linear(3, 4), Equilibrium(4, function), nn.Linear(4, 2)), torch.randn(3, 3))


class Spectrum(Function):
    """Power spectrum of real rows (one-sided)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        f = torch.fft.rfft(x)
        ctx.save_for_backward(f)
        ctx.samples = x.shape[-1]
        return f.abs().square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        full = functional.pad(2 * g * ctx.saved_tensors[0], (0, ctx.samples - g.shape[-1]))
        return torch.fft.fft(full.conj()).real


class SpectrumOneSided(Spectrum):
    """By the inverse transform of real signals, which counts every line but the first and the last twice."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.fft.irfft(2 * g * ctx.saved_tensors[0], n=ctx.samples, norm="forward")


class SpectrumEven(Spectrum):
    """Corrects the lines counted twice, and takes the last line for the Nyquist line even of an odd number of samples."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        twice = torch.full_like(g, 0.5)
        twice[..., 0] = twice[..., -1] = 1.0
        return torch.fft.irfft(2 * g * ctx.saved_tensors[0] * twice, n=ctx.samples, norm="forward")


class Bands(nn.Module):
    """Power spectrum as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Listener(nn.Module):
    """A filter, its spectrum, and the loudest bands."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.filter, self.bands, self.head = nn.Conv1d(1, 2, 3, padding=1), Bands(function), nn.Conv1d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.log1p(self.bands(self.filter(x)))).mean(-1)


def listener(function: type[Function]) -> Facts:
    """An even number of samples; the transform is ``bands``."""
    return facts(Listener(function), torch.randn(2, 1, 6))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"transforms/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CASES = (
    _case("rotation-at-rest", partial(registration, guarded=False), partial(registration, guarded=True), "1", parameter="vector",
          trigger="zeros", needs="input", witness=no_rotation, relative_size=float("inf")),
    _case("tone-unlimited", partial(camera, ToneUnlimited), partial(camera, Tone), "0", function="ToneUnlimited", trigger="domain",
          needs="input", witness=scaled(2.0)),
    _case("power-mean-of-three", partial(retrieval, PowerMeanOfThree), partial(retrieval, PowerMean), "1", function="PowerMeanOfThree",
          trigger="hyper-parameter", needs="configuration", witness=setting("1", p=2.0)),
    _case("implicit-one-step", partial(equilibrium, ImplicitOneStep), partial(equilibrium, Implicit), "1", function="ImplicitOneStep",
          relative_size=0.3),
    _case("spectrum-one-sided", partial(listener, SpectrumOneSided), partial(listener, Spectrum), "bands", function="SpectrumOneSided"),
    _case("spectrum-even-only", partial(listener, SpectrumEven), partial(listener, Spectrum), "bands", function="SpectrumEven",
          trigger="shape", needs="configuration", witness=drawn((2, 1, 5)), relative_size=0.3),
)
