"""Small subjects made of parts, for tests of probes."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.subject import Batch, Setup, Subject

SAMPLES = 16


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def sgd(rate: float = 0.1, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    """A factory of gradient descent."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)


def adam(rate: float = 1e-2, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    """A factory of Adam."""
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, **options)


def mlp(*sizes: int, activation: type[nn.Module] = nn.Tanh, last: nn.Module | None = None) -> nn.Sequential:
    """Dense layers with an activation between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1], *([last] if last is not None else []))


def regression(inputs: int = 4, outputs: int = 2, samples: int = SAMPLES) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets that a linear map connects, always the same."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(samples, inputs, generator=generator)
    return x, x @ torch.randn(inputs, outputs, generator=generator) + 0.3


def classes(inputs: int = 4, kinds: int = 3, samples: int = SAMPLES) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and classes that lie apart."""
    generator = torch.Generator().manual_seed(8)
    y = torch.arange(samples) % kinds
    return 2 * torch.randn(kinds, inputs, generator=generator)[y] + 0.1 * torch.randn(samples, inputs, generator=generator), y


def subject(make: Callable[[], nn.Module], data: tuple[Any, Any], loss: Any = functional.mse_loss, optimizer: Any = None,
            steps: int | None = None) -> Subject:
    """A subject whose model is made afresh for every seed; the inputs may be a tuple of arguments."""
    def setup(seed: int) -> Setup:
        torch.manual_seed(seed)
        inputs, targets = data
        args = inputs if isinstance(inputs, tuple) else (inputs,)
        return Setup(make(), Batch(args, targets=targets), loss, sgd() if optimizer is None else optimizer, steps)

    return Subject("small", setup)
