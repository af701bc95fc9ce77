"""Random draws that the backward must replay: dropped paths, checkpoints, sampled latents, noise."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from .case import Case, Facts, facts, mode


class DropRows(Function):
    """Whole rows dropped with probability ``p``, the others scaled up; the mask is kept for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, training: bool) -> Tensor:
        ctx.p, ctx.training = p, training
        ctx.mask = (torch.rand(x.shape[0], 1) >= p).to(x.dtype) / (1 - p) if training else torch.ones(x.shape[0], 1, dtype=x.dtype)
        return x * ctx.mask

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g * ctx.mask, None, None


class DropRedraws(DropRows):
    """Draws the rows again in the backward."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g * (torch.rand(g.shape[0], 1) >= ctx.p).to(g.dtype) / (1 - ctx.p), None, None


class DropUnscaled(DropRows):
    """Rows that were kept are not scaled up in the backward; in eval mode there is nothing to scale."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g * (ctx.mask != 0), None, None


class DropPath(nn.Module):
    """Stochastic depth."""

    def __init__(self, p: float = 0.5, function: type[Function] = DropRows) -> None:
        super().__init__()
        self.p, self.function = p, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.p, self.training)


class Block(nn.Module):
    """Residual block with stochastic depth."""

    def __init__(self, width: int, function: type[Function]) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(width, width), DropPath(function=function)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(torch.tanh(self.linear(x)))


def deep(function: type[Function], *, training: bool = True) -> Facts:
    """Three blocks; the operation in question is ``2.drop``."""
    model = nn.Sequential(nn.Linear(3, 4), Block(4, DropRows), Block(4, function), nn.Linear(4, 2))
    return facts(model.train(training), torch.randn(8, 3))


class Checkpointed(nn.Module):
    """A dropout network recomputed in the backward, in the bug without its generator's state."""

    def __init__(self, *, preserve: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 4))
        self.preserve = preserve

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False, preserve_rng_state=self.preserve)


def recomputed(*, preserve: bool, training: bool = True) -> Facts:
    """The block in question is ``1``."""
    model = nn.Sequential(nn.Linear(3, 4), Checkpointed(preserve=preserve), nn.Linear(4, 2))
    return facts(model.train(training), torch.randn(8, 3))


class Sample(Function):
    """``mean + exp(logvar / 2) * noise``, the noise drawn inside."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, logvar: Tensor) -> Tensor:
        noise = torch.randn_like(mean)
        ctx.save_for_backward(noise, logvar)
        return mean + torch.exp(0.5 * logvar) * noise

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        noise, logvar = ctx.saved_tensors
        return g, 0.5 * g * torch.exp(0.5 * logvar) * noise


class SampleRedraws(Sample):
    """New noise for the variance's gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        _, logvar = ctx.saved_tensors
        return g, 0.5 * g * torch.exp(0.5 * logvar) * torch.randn_like(logvar)


class Latent(nn.Module):
    """Encoder, sampled latent, decoder."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.encoder, self.sample, self.decoder = nn.Linear(3, 4), Draw(function), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, -1)
        return self.decoder(self.sample(mean, logvar)), mean, logvar


class Draw(nn.Module):
    """The draw as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, mean: Tensor, logvar: Tensor) -> Tensor:
        return self.function.apply(mean, logvar)


def latent(function: type[Function]) -> Facts:
    """The operation in question is in ``sample``."""
    return facts(Latent(function), torch.randn(4, 3))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"stochastic/{name}", "trigger": "randomness", "bug": bug, "twin": twin, "module": module} | rest))


EVAL = {"needs": "configuration", "trigger": "mode", "witness": mode(training=True)}
CASES = (
    _case("dropped-rows-redrawn", partial(deep, DropRedraws), partial(deep, DropRows), "2.drop", function="DropRedraws"),
    _case("kept-rows-unscaled", partial(deep, DropUnscaled, training=False), partial(deep, DropRows, training=False), "2.drop",
          function="DropUnscaled", **EVAL),
    _case("checkpoint-new-draws", partial(recomputed, preserve=False), partial(recomputed, preserve=True), "1"),
    _case("checkpoint-new-draws-from-eval", partial(recomputed, preserve=False, training=False),
          partial(recomputed, preserve=True, training=False), "1", **EVAL),
    _case("latent-noise-redrawn", partial(latent, SampleRedraws), partial(latent, Sample), "sample", function="SampleRedraws"),
)
