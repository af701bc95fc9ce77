"""Optimisers changed as soon as they are made."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch.optim import Optimizer

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.subject import Setup


def changed(setup: Setup, change: Callable[[Optimizer], Optimizer]) -> Setup:
    """The set-up with ``change`` applied to every optimiser that its factory makes; one is made at once, to learn whether it can be.

    Raises:
        NotApplicable: there is no optimiser or nothing to train, or ``change`` says so.
    """
    factory = setup.optimizer
    if factory is None:
        raise NotApplicable("the subject has no optimiser")
    parameters = list(setup.model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise NotApplicable("the model has no parameter that requires a gradient")

    def make(given: Any) -> Optimizer:
        return change(factory(given))

    make(parameters)
    return replace(setup, optimizer=make)


def scaled_rate(optimizer: Optimizer, factor: float) -> Optimizer:
    """The optimiser with the learning rate of every group multiplied by ``factor``.

    Raises:
        NotApplicable: a group has no learning rate, or a rate of zero.
    """
    for group in optimizer.param_groups:
        if not group.get("lr"):
            raise NotApplicable(f"{type(optimizer).__name__} has no learning rate that could be scaled")
        group["lr"] = group["lr"] * factor
    return optimizer
