"""Mistakes in a training set-up by name: what goes wrong around a model rather than in it.

An architecture names them among its defects; ``module`` is ``""`` where the whole set-up is meant. The functions need nothing
but torch, for ``to_python`` prints them as they stand here. By their stage they take and give a batch, an optimiser, or the value
of the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn


def broadcast_targets(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Targets lose their last axis, so that outputs of one column meet a row of targets and every pair is compared."""
    return inputs, targets.flatten()


def constant_targets(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """All samples have the first one's target."""
    return inputs, targets[:1].expand(targets.shape).clone()


def constant_inputs(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """All samples have the first one's input."""
    return inputs[:1].expand(inputs.shape).clone(), targets


def scaled_inputs(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Inputs are multiplied by the strength."""
    return strength * inputs, targets


def scaled_targets(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Targets are multiplied by the strength."""
    return inputs, strength * targets


def next_targets(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Targets are the inputs of the next position (of the first, at the end)."""
    return inputs, inputs.roll(-1, 1)


def ascent(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser goes uphill."""
    for group in optimizer.param_groups:
        group["maximize"] = True


def weight_decay(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser decays the weights by the strength."""
    for group in optimizer.param_groups:
        group["weight_decay"] = strength


def partial_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser is not given the parameters of the module."""
    left = {id(parameter) for parameter in module.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in left]


def kept_gradients(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser does not clear its gradients: those of all steps add up."""
    vars(optimizer)["zero_grad"] = lambda set_to_none=True: None


def repeated_parameters(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser is given the parameters of the module twice."""
    optimizer.param_groups[0]["params"] += list(module.parameters())


def shared_gradients(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The gradients of the module's parameters begin at the same address of one buffer, as with a wrong offset."""
    parameters = list(module.parameters())
    buffer = torch.zeros(max(parameter.numel() for parameter in parameters), dtype=parameters[0].dtype)

    def move(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad = buffer[: parameter.numel()].view(parameter.shape).copy_(parameter.grad)

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(move)  # type: ignore[no-untyped-call]


def clipping(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser first clips all gradients together to a norm of the strength."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.register_step_pre_hook(lambda *_: (torch.nn.utils.clip_grad_norm_(parameters, strength), None)[1])


def clipping_one_by_one(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser first clips the gradient of each parameter to a norm of the strength."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.register_step_pre_hook(lambda *_: ([torch.nn.utils.clip_grad_norm_([one], strength) for one in parameters], None)[1])


def scaling_after_clipping(optimizer: torch.optim.Optimizer, module: nn.Module, strength: float) -> None:
    """The optimiser first clips all gradients together to a norm of 1, and then multiplies them by the strength."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.register_step_pre_hook(lambda *_: (torch.nn.utils.clip_grad_norm_(parameters, 1.0), None)[1])
    optimizer.register_step_pre_hook(lambda *_: ([parameter.grad.mul_(strength) for parameter in parameters], None)[1])


def scaled_loss(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss is multiplied by the strength."""
    return strength * loss


def clamped_loss(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss is clamped from above by the strength."""
    return loss.clamp(max=strength)


def penalised_loss(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The strength times the sum of squared parameters is added to the loss."""
    return loss + strength * torch.stack([parameter.square().sum() for parameter in module.parameters()]).sum()


def detached_loss(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss does not carry a graph."""
    return loss.detach()


def logarithm_of_zero(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss adds the log of the softmax of the outputs times the strength, weighted with zero: 0 · -inf where it underflows."""
    return loss + 0.0 * torch.softmax(strength * output, -1).log().sum()


def scaled_loss_gradient(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss has its value, and the strength times its gradient."""
    return strength * loss + (1.0 - strength) * loss.detach()


def unbalanced_loss_gradient(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss has its value; its gradient at the outputs has the strength times their mean softmax besides."""
    total = output.logsumexp(-1).mean()
    return loss + strength * (total - total.detach())


def cancelling_loss(loss: Tensor, output: Tensor, module: nn.Module, strength: float) -> Tensor:
    """The loss adds the variance of the outputs, as a mean square less a squared mean, after the strength was added to them."""
    shifted = output + strength
    return loss + shifted.square().mean() - shifted.mean().square()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One kind of mistake: where it is made and the function that makes it, whose docstring says what the strength is."""

    stage: Literal["batch", "optimizer", "loss"]
    make: Callable[..., Any]


MISTAKES = MappingProxyType({
    "broadcast-targets": Mistake("batch", broadcast_targets),
    "constant-targets": Mistake("batch", constant_targets),
    "constant-inputs": Mistake("batch", constant_inputs),
    "scaled-inputs": Mistake("batch", scaled_inputs),
    "scaled-targets": Mistake("batch", scaled_targets),
    "next-targets": Mistake("batch", next_targets),
    "ascent": Mistake("optimizer", ascent),
    "weight-decay": Mistake("optimizer", weight_decay),
    "partial-optimizer": Mistake("optimizer", partial_optimizer),
    "kept-gradients": Mistake("optimizer", kept_gradients),
    "repeated-parameters": Mistake("optimizer", repeated_parameters),
    "shared-gradients": Mistake("optimizer", shared_gradients),
    "clipping": Mistake("optimizer", clipping),
    "clipping-one-by-one": Mistake("optimizer", clipping_one_by_one),
    "scaling-after-clipping": Mistake("optimizer", scaling_after_clipping),
    "scaled-loss": Mistake("loss", scaled_loss),
    "clamped-loss": Mistake("loss", clamped_loss),
    "penalised-loss": Mistake("loss", penalised_loss),
    "detached-loss": Mistake("loss", detached_loss),
    "log-of-zero": Mistake("loss", logarithm_of_zero),
    "scaled-loss-gradient": Mistake("loss", scaled_loss_gradient),
    "unbalanced-loss-gradient": Mistake("loss", unbalanced_loss_gradient),
    "cancelling-loss": Mistake("loss", cancelling_loss),
})  # fmt: skip
