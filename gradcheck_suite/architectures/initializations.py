"""Initialisations by name, applied to every weight of dense, convolutional, recurrent and attention layers.

A weight of a recurrent layer is its gates' weights stacked, an attention layer's is query, key and value stacked: each
block is drawn by itself, for fans and orthogonality are those of a block. Biases become zero, but for ``torch-default``,
which leaves everything as PyTorch's constructors drew it. Embeddings (standard normal), normalisations and slopes keep
PyTorch's own. Fans are PyTorch's: its fan-out of a grouped convolution does not divide by the groups, so that
``he-normal-fan-out`` draws such weights too small by their number (in variance).

The functions need nothing but torch, for ``to_python`` prints them as they stand here.
"""

import math
from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import nn


def he_normal(weight: torch.Tensor) -> None:
    """N(0, 2 / fan_in) (He et al. 2015, eq. 10)."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def he_uniform(weight: torch.Tensor) -> None:
    """Uniform with variance 2 / fan_in."""
    nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def he_normal_fan_out(weight: torch.Tensor) -> None:
    """N(0, 2 / fan_out) (He et al. 2015, eq. 14)."""
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


def he_uniform_fan_out(weight: torch.Tensor) -> None:
    """Uniform with variance 2 / fan_out."""
    nn.init.kaiming_uniform_(weight, mode="fan_out", nonlinearity="relu")


def glorot_normal(weight: torch.Tensor) -> None:
    """N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)."""
    nn.init.xavier_normal_(weight)


def glorot_uniform(weight: torch.Tensor) -> None:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(weight)


def lecun_normal(weight: torch.Tensor) -> None:
    """N(0, 1 / fan_in) (LeCun et al. 1998, eq. 16)."""
    nn.init.kaiming_normal_(weight, nonlinearity="linear")


def orthogonal(weight: torch.Tensor) -> None:
    """Orthonormal rows or columns, gain 1, of the weight as a matrix of output channels by the rest (Saxe et al. 2014)."""
    nn.init.orthogonal_(weight)


def truncated_normal(weight: torch.Tensor) -> None:
    """N(0, s^2) cut at two s, with s^2 = 2 / fan_in, and not rescaled: the variance is 0.774 of s^2, as in PyTorch."""
    fan_in = weight[0].numel()
    scale = math.sqrt(2 / fan_in)
    nn.init.trunc_normal_(weight, std=scale, a=-2 * scale, b=2 * scale)


def initialize(model: nn.Module, draw: Callable[[torch.Tensor], None]) -> None:
    """Draw every weight of the dense, convolutional, recurrent and attention layers of a model; zero their biases."""
    blocks = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3, nn.MultiheadAttention: 3, nn.Linear: 1, nn.Conv1d: 1, nn.Conv2d: 1}
    with torch.no_grad():
        for module in model.modules():
            stacked = next((number for kind, number in blocks.items() if isinstance(module, kind)), 0)
            for name, parameter in module.named_parameters(recurse=False) if stacked else ():
                if "weight" in name:
                    for block in parameter.chunk(stacked):
                        draw(block)
                else:
                    parameter.zero_()


INITIALIZATIONS = MappingProxyType({
    "torch-default": None,
    "he-normal": he_normal,
    "he-uniform": he_uniform,
    "he-normal-fan-out": he_normal_fan_out,
    "he-uniform-fan-out": he_uniform_fan_out,
    "glorot-normal": glorot_normal,
    "glorot-uniform": glorot_uniform,
    "lecun-normal": lecun_normal,
    "orthogonal": orthogonal,
    "truncated-normal": truncated_normal,
})  # fmt: skip
