"""Mistakes in a training set-up by name: what goes wrong around a model rather than in it.

An architecture names them among its defects; ``subject`` makes them in the finished set-up. ``module`` is ``""`` where the
whole set-up is meant.
"""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.architecture import Architecture, Defect
from gradcheck_suite.subject import Batch, Setup

Mistake = Callable[[Setup, str, float], Setup]


def ascent(setup: Setup, module: str, strength: float) -> Setup:
    """The optimiser goes uphill."""
    return _with_optimizer(setup, lambda optimizer: [group.update(maximize=True) for group in optimizer.param_groups])


def weight_decay(setup: Setup, module: str, strength: float) -> Setup:
    """The optimiser decays the weights by the strength."""
    return _with_optimizer(setup, lambda optimizer: [group.update(weight_decay=strength) for group in optimizer.param_groups])


def partial_optimizer(setup: Setup, module: str, strength: float) -> Setup:
    """The optimiser is given all parameters but those of the module."""
    make, left = setup.optimizer, {id(p) for p in setup.model.get_submodule(module).parameters()}
    assert make is not None
    return replace(setup, optimizer=lambda parameters: make([p for p in parameters if id(p) not in left]))


def unregistered(setup: Setup, module: str, strength: float) -> Setup:
    """The module's parameters become plain tensors that require gradients."""
    owner = setup.model.get_submodule(module)
    for name, parameter in list(owner._parameters.items()):
        if parameter is not None:
            del owner._parameters[name]
            vars(owner)[name] = parameter.detach().clone().requires_grad_()
    return setup


def drifting(setup: Setup, module: str, strength: float) -> Setup:
    """Each forward pass adds the strength to the module's parameters."""
    owner = setup.model.get_submodule(module)

    def drift(own: nn.Module, given: Any) -> None:
        for parameter in own.parameters():
            parameter.data.add_(strength)

    owner.register_forward_pre_hook(drift)
    return setup


def broadcast_targets(setup: Setup, module: str, strength: float) -> Setup:
    """Targets lose their last axis, so that outputs of one column meet a row of targets and every pair is compared."""
    return _with_batch(setup, targets=setup.batch.targets.flatten())


def constant_targets(setup: Setup, module: str, strength: float) -> Setup:
    """All samples have the first one's target."""
    targets = setup.batch.targets
    return _with_batch(setup, targets=targets[:1].expand(targets.shape).clone())


def constant_inputs(setup: Setup, module: str, strength: float) -> Setup:
    """All samples have the first one's input."""
    return _with_batch(setup, args=tuple(value[:1].expand(value.shape).clone() for value in setup.batch.args))


def scaled_inputs(setup: Setup, module: str, strength: float) -> Setup:
    """Inputs are multiplied by the strength."""
    return _with_batch(setup, args=tuple(strength * value for value in setup.batch.args))


def scaled_targets(setup: Setup, module: str, strength: float) -> Setup:
    """Targets are multiplied by the strength."""
    return _with_batch(setup, targets=strength * setup.batch.targets)


def next_targets(setup: Setup, module: str, strength: float) -> Setup:
    """Targets are the inputs of the next position (of the first, at the end)."""
    return _with_batch(setup, targets=setup.batch.args[0].roll(-1, 1))


def scaled_loss(setup: Setup, module: str, strength: float) -> Setup:
    """The loss is multiplied by the strength."""
    return _with_loss(setup, lambda loss: strength * loss)


def clamped_loss(setup: Setup, module: str, strength: float) -> Setup:
    """The loss is clamped from above by the strength."""
    return _with_loss(setup, lambda loss: loss.clamp(max=strength))


def penalised_loss(setup: Setup, module: str, strength: float) -> Setup:
    """The strength times the sum of squared parameters is added to the loss."""
    parameters = list(setup.model.parameters())
    return _with_loss(setup, lambda loss: loss + strength * torch.stack([p.square().sum() for p in parameters]).sum())


def detached_loss(setup: Setup, module: str, strength: float) -> Setup:
    """The loss does not carry a graph."""
    return _with_loss(setup, torch.Tensor.detach)


def logarithm_of_zero(setup: Setup, module: str, strength: float) -> Setup:
    """The loss adds the log of the softmax of the outputs times the strength, weighted with zero: 0 · -inf where it underflows."""
    loss = setup.loss
    assert loss is not None
    return replace(setup, loss=lambda output, targets: loss(output, targets) + 0.0 * torch.softmax(strength * output, -1).log().sum())


MISTAKES = MappingProxyType({
    "ascent": ascent, "weight-decay": weight_decay, "partial-optimizer": partial_optimizer, "unregistered": unregistered,
    "drifting": drifting, "broadcast-targets": broadcast_targets, "constant-targets": constant_targets,
    "constant-inputs": constant_inputs, "scaled-inputs": scaled_inputs, "scaled-targets": scaled_targets, "next-targets": next_targets,
    "scaled-loss": scaled_loss, "clamped-loss": clamped_loss, "penalised-loss": penalised_loss, "detached-loss": detached_loss,
    "log-of-zero": logarithm_of_zero,
})  # fmt: skip


def parted(architecture: Architecture) -> tuple[Architecture, tuple[Defect, ...]]:
    """The architecture without the mistakes among its defects, and those mistakes."""
    made = tuple(defect for defect in architecture.defects if defect.kind in MISTAKES)
    return (architecture.changed(defects=tuple(d for d in architecture.defects if d not in made)), made) if made else (architecture, ())


def made(setup: Setup, defects: tuple[Defect, ...]) -> Setup:
    """The set-up with these mistakes in it."""
    for defect in defects:
        setup = MISTAKES[defect.kind](setup, defect.module, defect.strength)
    return setup


def _with_batch(setup: Setup, *, args: tuple[Any, ...] | None = None, targets: Any = None) -> Setup:
    batch = setup.batch
    return replace(setup, batch=Batch(batch.args if args is None else args, batch.kwargs, batch.targets if targets is None else targets))


def _with_loss(setup: Setup, change: Callable[[torch.Tensor], torch.Tensor]) -> Setup:
    loss = setup.loss
    assert loss is not None
    return replace(setup, loss=lambda output, targets: change(loss(output, targets)))


def _with_optimizer(setup: Setup, change: Callable[[torch.optim.Optimizer], object]) -> Setup:
    make = setup.optimizer
    assert make is not None

    def changed(parameters: Any) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        change(optimizer)
        return optimizer

    return replace(setup, optimizer=changed)
