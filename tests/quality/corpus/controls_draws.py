"""Correct models that draw random numbers, or keep state from call to call."""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, spectral_norm
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from .case import Control, Expression, Facts, facts


def dense(*layers: nn.Module, inputs: int = 3, width: int = 6, rows: int = 4) -> Facts:
    """Layers between two dense ones."""
    return facts(nn.Sequential(nn.Linear(inputs, width), *layers, nn.Linear(width, 2)), torch.randn(rows, inputs))


def images(*layers: nn.Module, channels: int = 4) -> Facts:
    """Layers between a convolution and a readout."""
    readout = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))
    return facts(nn.Sequential(nn.Conv2d(2, channels, 3), nn.Tanh(), *layers, *readout), torch.randn(3, 2, 5, 5))


def function(forward: Callable[..., Any], *inputs: Tensor, **parts: nn.Module) -> Facts:
    """A forward given as a function, three features in, by default one dense layer ``a`` of four units."""
    return facts(Expression(forward, **(parts or {"a": nn.Linear(3, 4)})), *(inputs or (torch.randn(4, 3),)))


def latent(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """A sampled latent with the noise drawn inside."""
    mean, logvar = m.a(x).chunk(2, -1)
    return mean + torch.randn_like(mean) * torch.exp(0.5 * logvar), logvar


class OwnNoise(nn.Module):
    """Noise from a generator of its own, which no global seed reaches."""

    def __init__(self, *, repeat: bool = False) -> None:
        super().__init__()
        self.linear, self.repeat, self.generator = nn.Linear(3, 3), repeat, torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        if self.repeat:
            self.generator.manual_seed(5)
        noise = torch.rand(x.shape, generator=self.generator, dtype=torch.float64).to(x.dtype)
        return torch.tanh(self.linear(x)) * noise


class LayerDrop(nn.Module):
    """Skips a block by a draw from Python's generator, which it also seeds where the draws must repeat."""

    def __init__(self, *, repeat: bool = False) -> None:
        super().__init__()
        self.block, self.repeat = nn.Linear(3, 3), repeat

    def forward(self, x: Tensor) -> Tensor:
        if self.repeat:
            random.seed(3)
        return x + torch.tanh(self.block(x)) if random.random() < 0.5 else x


class Observer(nn.Module):
    """Counts its calls and follows the range of what it sees, in buffers; the values pass unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.peak: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("peak", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.calls += 1
            self.peak.copy_(torch.maximum(self.peak, x.abs().max()))
        return x * 1.0


class Checkpointed(nn.Module):
    """A dropout block recomputed in the backward with its draws."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.body, self.reentrant = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Dropout(0.5)), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


class Stages(nn.Sequential):
    """Checkpointed in two stages."""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint_sequential(list(self), 2, x, use_reentrant=False)


def moved_statistics() -> Facts:
    """Batch normalisation in eval mode, with statistics of its own."""
    found = dense(nn.BatchNorm1d(6), nn.Tanh())
    nn.init.uniform_(found["model"][1].running_var, 0.5, 2.0)
    nn.init.normal_(found["model"][1].running_mean)
    return found | {"model": found["model"].eval()}


def spectral(norm: Callable[..., nn.Module]) -> Facts:
    """A weight with one dominant direction, divided by its length: the power iteration has converged at every forward.

    Before it has, the gradient takes the two vectors for constants and is not the derivative of what is computed.
    """
    layer = nn.Linear(6, 6)
    with torch.no_grad():
        layer.weight.mul_(0.1).add_(torch.ones(6, 6))
    return dense(norm(layer, n_power_iterations=25), nn.Tanh())


def _draw(name: str, trait: str, build: Callable[[], Facts], **rest: Any) -> Control:
    return Control(id=f"draws/{name}", trait=trait, build=build, **rest)


CONTROLS = (
    _draw("dropout", "train mode", lambda: dense(nn.Tanh(), nn.Dropout(0.4))),
    _draw("dropout-in-place", "overwrites its input", lambda: dense(nn.Softplus(), nn.Dropout(0.4, inplace=True))),
    _draw("dropout-channels", "whole channels", lambda: images(nn.Dropout2d(0.4))),
    _draw("dropout-alpha", "shifts the values it drops", lambda: dense(nn.SELU(), nn.AlphaDropout(0.3))),
    _draw(
        "dropout-always", "active in eval mode", lambda: function(lambda m, x: functional.dropout(torch.tanh(m.a(x)), 0.5, training=True))
    ),
    _draw("randomized-relu", "slopes drawn", lambda: dense(nn.RReLU())),
    _draw("gumbel-softmax", "noise drawn inside", lambda: function(lambda m, x: functional.gumbel_softmax(m.a(x), 0.7))),
    _draw("latent", "noise drawn inside, two outputs", lambda: function(latent)),
    _draw("noise-scaled-to-input", "additive noise", lambda: function(lambda m, x: m.a(x + 0.1 * torch.randn_like(x)))),
    _draw(
        "own-generator",
        "draws that no global seed repeats",
        lambda: facts(OwnNoise(), torch.randn(4, 3)),
        reference=lambda: facts(OwnNoise(repeat=True), torch.randn(4, 3)),
    ),
    _draw(
        "layer-drop",
        "draws from Python's generator",
        lambda: facts(nn.Sequential(LayerDrop(), nn.Linear(3, 2)), torch.randn(4, 3)),
        reference=lambda: facts(nn.Sequential(LayerDrop(repeat=True), nn.Linear(3, 2)), torch.randn(4, 3)),
    ),
    _draw("checkpoint", "replays its draws", lambda: dense(Checkpointed(reentrant=False))),
    _draw("checkpoint-reentrant", "a backward inside the backward", lambda: dense(Checkpointed(reentrant=True))),
    _draw(
        "checkpoint-stages",
        "several regions",
        lambda: facts(Stages(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 2)), torch.randn(4, 3)),
    ),
    _draw("batchnorm", "couples the rows", lambda: dense(nn.BatchNorm1d(6), nn.SiLU())),
    _draw("batchnorm-cumulative", "momentum None", lambda: images(nn.BatchNorm2d(4, momentum=None), nn.SiLU())),
    _draw("batchnorm-eval", "running statistics", moved_statistics),
    _draw("batchnorm-two-rows", "two rows, all but a sign removed", lambda: dense(nn.BatchNorm1d(6, eps=1e-2), nn.Tanh(), rows=2)),
    _draw("batchnorm-stateless", "no running statistics", lambda: images(nn.BatchNorm2d(4, affine=False, track_running_stats=False))),
    _draw("instancenorm", "running statistics per sample", lambda: images(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))),
    _draw("groupnorm", "two groups", lambda: images(nn.GroupNorm(2, 4), nn.Mish())),
    _draw("local-response-norm", "couples the channels", lambda: images(nn.LocalResponseNorm(3))),
    _draw("spectral-norm", "power iteration at every forward in train mode", lambda: spectral(parametrizations.spectral_norm)),
    _draw("spectral-norm-hook", "the same by a forward hook", lambda: spectral(spectral_norm)),
    _draw(
        "spectral-norm-eval",
        "frozen vectors",
        lambda: (found := dense(parametrizations.spectral_norm(nn.Linear(6, 6)))) | {"model": found["model"].eval()},
    ),
    _draw("weight-norm", "length and direction", lambda: dense(parametrizations.weight_norm(nn.Linear(6, 6)), nn.Tanh())),
    _draw(
        "orthogonal",
        "a parametrization by the matrix exponential",
        lambda: dense(parametrizations.orthogonal(nn.Linear(6, 6), orthogonal_map="matrix_exp"), nn.Tanh()),
    ),
    _draw("observer", "buffers change at every call", lambda: dense(nn.Tanh(), Observer())),
)
