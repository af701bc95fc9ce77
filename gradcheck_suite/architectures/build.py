"""From an architecture to a module, a batch, a loss and an optimiser."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gradcheck_suite.architectures import program
from gradcheck_suite.architectures.losses import LOSSES
from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.subject import Batch


def build(architecture: Architecture, seed: int) -> nn.Sequential:
    """The module of an architecture, in its mode and dtype; its layers are the children ``"0"``, ``"1"``, ...

    Equal architectures and seeds give equal numbers, bit for bit, whatever the state of the global generator, which is
    left as it was. All is drawn in float64; a float32 module is the float64 one rounded.

    Raises:
        UsageError: the architecture is not valid.
    """
    make = _function(program.model_source, architecture)
    with _drawing():
        model: nn.Sequential = make(derive(seed, "model"))
    return model


def make_batch(architecture: Architecture, seed: int) -> Batch:
    """Inputs in the architecture's regime of values and targets that fit its loss.

    For the loss ``""`` the targets are the random cotangent that ``loss_function`` contracts the output with.

    Raises:
        UsageError: the architecture is not valid.
    """
    inputs, targets = _function(program.batch_source, architecture)(derive(seed, "batch"))
    return Batch(args=(inputs,), targets=targets)


def loss_function(architecture: Architecture, model: nn.Module | None = None) -> Callable[[Any, Any], torch.Tensor]:
    """The loss, ``(output, targets) -> scalar``, with the mistakes made in it; some of those read the model.

    Raises:
        UsageError: the architecture is not valid.
    """
    loss = _function(program.loss_source, architecture)
    if not program.made(architecture, "loss"):
        return LOSSES[architecture.loss].function
    return lambda output, targets: loss(output, targets, model)


def optimizer_factory(architecture: Architecture, model: nn.Module | None = None) -> Callable[[Any], torch.optim.Optimizer]:
    """The optimiser, ``(parameters) -> Optimizer``, with the mistakes made in it; some of those read the model.

    Raises:
        UsageError: the architecture is not valid.
    """
    make = _function(program.optimizer_source, architecture)
    return lambda parameters: make(parameters, model)


@functools.lru_cache(maxsize=4096)
def _function(source: Callable[[Architecture], str], architecture: Architecture) -> Callable[..., Any]:
    return program.run(source(architecture))


@contextmanager
def _drawing() -> Iterator[None]:
    """Float64 as the default dtype, and the global generator and dtype restored at the end."""
    dtype, state = torch.get_default_dtype(), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
