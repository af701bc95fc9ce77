"""Faults that can be planted in parameters. They need nothing but torch, for ``to_python`` prints them as they stand here."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradcheck_suite.architectures.faults import change_forward


def parameter_hook(module: nn.Module, strength: float) -> None:
    """A hook multiplies the gradient of every parameter of the module by the strength."""
    for parameter in module.parameters():
        parameter.register_hook(lambda gradient: strength * gradient)  # type: ignore[no-untyped-call]


def shifted_gradient(module: nn.Module, strength: float) -> None:
    """A hook adds the strength times its root mean square to every entry of the gradient of each of the module's parameters."""
    for parameter in module.parameters():
        parameter.register_hook(lambda gradient: gradient + strength * gradient.square().mean().sqrt())  # type: ignore[no-untyped-call]


def scaled_entry(module: nn.Module, strength: float) -> None:
    """A hook multiplies the first entry of the gradient of the module's first parameter by the strength."""
    parameter = next(module.parameters())
    factor = torch.ones_like(parameter)
    factor.view(-1)[0] = strength
    parameter.register_hook(lambda gradient: factor * gradient)  # type: ignore[no-untyped-call]


class StoredGradient(torch.autograd.Function):
    """The identity, whose backward pass hands its gradient to ``store`` and returns none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, store: Callable[[Tensor], None]) -> Tensor:
        """The input."""
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], None]], output: Tensor) -> None:
        """Keep where the gradient goes."""
        ctx.store = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        """Nothing."""
        ctx.store(gradient)
        return None, None


def overwritten_gradient(module: nn.Module, strength: float) -> None:
    """Each use of the module's parameters puts the strength times its gradient in place of what is there, instead of adding it."""

    def change(forward: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> Tensor:
        kept: list[Any] = [(owner, name, p) for owner in module.modules() for name, p in owner._parameters.items() if p is not None]
        try:
            for owner, name, p in kept:
                used = StoredGradient.apply(p, lambda gradient, p=p: setattr(p, "grad", strength * gradient))  # type: ignore[no-untyped-call]
                owner._parameters[name] = used
            return forward(x)
        finally:
            for owner, name, p in kept:
                owner._parameters[name] = p

    change_forward(module, change)


def frozen(module: nn.Module, strength: float) -> None:
    """The module's parameters are not trained."""
    module.requires_grad_(False)


def unregistered(module: nn.Module, strength: float) -> None:
    """The module's parameters are plain tensors that require gradients."""
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            del owner._parameters[name]
            setattr(owner, name, parameter.detach().clone().requires_grad_())


def drifting(module: nn.Module, strength: float) -> None:
    """Each forward pass first adds the strength to the module's parameters."""
    change_forward(module, lambda forward, module, x: ([p.data.add_(strength) for p in module.parameters()], forward(x))[1])
