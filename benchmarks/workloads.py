"""The models that gradient checkers are timed on: small ones of every kind, and two of practical size. All in float64, one batch each."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Workload:
    """A model with what it is run on; ``loss`` takes the model's output and the targets."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def forward(self) -> Tensor:
        """The loss."""
        return self.loss(self.model(*self.inputs), self.targets)

    def forward_backward(self) -> None:
        """One forward and backward pass, gradients of the parameters."""
        self.model.zero_grad(set_to_none=True)
        self.forward().backward()

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.model.parameters())


def mlp(depth: int = 3, width: int = 64, batch: int = 8) -> tuple[nn.Module, Tensor]:
    """Hidden layers of one width with tanh, 16 features in, 4 classes out."""
    sizes = [16, *[width] * depth]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(width, 4)), torch.randn(batch, 16)


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class BasicBlock(nn.Module):
    """Two convolutions and a skip, projected where the shape changes (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvBlock(inputs, outputs, stride)
        self.conv, self.norm = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape, or halves the image with stride two."""
        return functional.relu(self.norm(self.conv(self.first(x))) + self.skip(x))


def readout(channels: int, classes: int) -> nn.Sequential:
    """Global average and a dense layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def cnn() -> tuple[nn.Module, Tensor]:
    """Three convolutional blocks on 8 x 8 images."""
    return nn.Sequential(ConvBlock(3, 8), ConvBlock(8, 8, 2), ConvBlock(8, 8, 2), readout(8, 4)), torch.randn(4, 3, 8, 8)


def residual(blocks: int = 4) -> tuple[nn.Module, Tensor]:
    """A stack of residual blocks on 8 x 8 images."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), *[BasicBlock(8, 8) for _ in range(blocks)], readout(8, 4)), torch.randn(4, 3, 8, 8)


def resnet18() -> tuple[nn.Module, Tensor]:
    """ResNet-18 for ten classes, 11 million parameters, on 32 x 32 images."""
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    widths = (64, 64, 128, 256, 512)
    stages = [block for a, b in pairwise(widths) for block in (BasicBlock(a, b, 1 if a == b else 2), BasicBlock(b, b))]
    return nn.Sequential(*stem, *stages, readout(512, 10)), torch.randn(4, 3, 32, 32)


class Recurrent(nn.Module):
    """An LSTM over 20 steps, whole (``fused``) or cell by cell, read at the last step."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.body: nn.Module = nn.LSTM(8, 16, batch_first=True) if fused else nn.LSTMCell(8, 16)
        self.head, self.fused = nn.Linear(16, 4), fused

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, time, features) to (batch, classes)."""
        if self.fused:
            return self.head(self.body(x)[0][:, -1])
        state = None
        for t in range(x.shape[1]):
            state = self.body(x[:, t], state)
        return self.head(state[0])


class Encoder(nn.Module):
    """Two transformer encoder layers of torch's own, mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, tokens, 32) to (batch, classes)."""
        return self.head(self.body(x).mean(1))


class GPTBlock(nn.Module):
    """Pre-norm block: causal attention, then a GELU network four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out, self.heads = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps (batch, tokens, width)."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class GPT(nn.Module):
    """A language model of 10 million parameters, its table tied to its head."""

    def __init__(self, vocabulary: int = 8000, width: int = 256, depth: int = 10, length: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks, self.norm = nn.Sequential(*[GPTBlock(width, 8) for _ in range(depth)]), nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.05)

    def forward(self, tokens: Tensor) -> Tensor:
        """From (batch, tokens) to (batch, tokens, vocabulary)."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


MODELS: Final[dict[str, Callable[[], tuple[nn.Module, Tensor]]]] = {
    "mlp 3x64": mlp,
    "mlp 30x64": lambda: mlp(30),
    "cnn": cnn,
    "residual": residual,
    "LSTM": lambda: (Recurrent(fused=True), torch.randn(4, 20, 8)),
    "LSTM cells": lambda: (Recurrent(fused=False), torch.randn(4, 20, 8)),
    "encoder": lambda: (Encoder(), torch.randn(2, 8, 32)),
    "resnet18": resnet18,
    "gpt 10M": lambda: (GPT(), torch.randint(8000, (2, 64))),
}
SMALL: Final = ("mlp 3x64", "mlp 30x64", "cnn", "residual", "LSTM", "LSTM cells", "encoder")


def entropy(output: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over all rows and tokens."""
    return functional.cross_entropy(output.flatten(0, -2), targets)


def workload(name: str, build: Callable[[], tuple[nn.Module, Tensor]] | None = None, seed: int = 0) -> Workload:
    """The named workload (or one of the given build), in float64 and train mode."""
    torch.manual_seed(seed)
    model, inputs = (build or MODELS[name])()
    model = model.double().train()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        output = model.eval()(inputs)
    model.train()
    targets = torch.randint(output.shape[-1], (output[..., 0].numel(),))
    return Workload(name, model, (inputs,), targets, entropy)
