"""Faults that can be planted in a module. They need nothing but torch, for ``to_python`` prints them as they stand here.

Each takes the module and a strength and changes that module alone; the names of modules and parameters stay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def change_forward(module: nn.Module, change: Callable[..., Tensor]) -> None:
    """Give this one module a forward pass of ``change(forward, module, input)``; a deep copy of the module keeps it."""
    kind = type(module)

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return change(super(faulty, self).forward, self, x)

    faulty: Any = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    module.__class__ = faulty


def change_gradient(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Leave the module's output as it is and send ``change(gradient)`` backward instead of its gradient."""
    change_forward(module, lambda forward, module, x: ChangedGradient.apply(forward(x), change))  # type: ignore[no-untyped-call]


class ChangedGradient(torch.autograd.Function):
    """The identity with a backward pass that is not its derivative; its forward mode is right."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The input."""
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        """Keep the change for the backward pass."""
        ctx.change = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """What ``change`` makes of the gradient."""
        return ctx.change(gradient), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, change: None) -> Tensor:
        """The tangent."""
        return tangent.clone()


def scaled_backward(module: nn.Module, strength: float) -> None:
    """The backward pass multiplies the gradient by the strength."""
    change_gradient(module, lambda gradient: strength * gradient)


def sign_flip(module: nn.Module, strength: float) -> None:
    """The backward pass multiplies the gradient by minus the strength."""
    change_gradient(module, lambda gradient: -strength * gradient)


def scaled_row(module: nn.Module, strength: float) -> None:
    """The backward pass multiplies the gradient of the first output feature (last axis) by the strength."""
    change_gradient(module, lambda gradient: torch.cat([strength * gradient[..., :1], gradient[..., 1:]], -1))


def scaled_input_row(module: nn.Module, strength: float) -> None:
    """The backward pass multiplies the gradient of the first input feature (last axis) by the strength."""

    def change(gradient: Tensor) -> Tensor:
        return torch.cat([strength * gradient[..., :1], gradient[..., 1:]], -1)

    change_forward(module, lambda forward, module, x: forward(ChangedGradient.apply(x, change)))  # type: ignore[no-untyped-call]


def swapped_samples(module: nn.Module, strength: float) -> None:
    """The backward pass gives each sample the gradient of its neighbour."""
    change_gradient(module, lambda gradient: gradient.roll(1, 0))


def ignored_upstream(module: nn.Module, strength: float) -> None:
    """The backward pass forgets the gradient that comes from above and takes the strength everywhere."""
    change_gradient(module, lambda gradient: torch.full_like(gradient, strength))


def detached_backward(module: nn.Module, strength: float) -> None:
    """The gradient is right, but cannot be differentiated again."""
    change_gradient(module, lambda gradient: gradient.detach().clone())


def scaled_single_sample(module: nn.Module, strength: float) -> None:
    """The backward pass multiplies the gradient by the strength where the batch has one sample."""
    change_gradient(module, lambda gradient: strength * gradient if gradient.shape[0] == 1 else gradient.clone())


def spoiled_upstream(module: nn.Module, strength: float) -> None:
    """The gradient is right, but the one that comes from above is multiplied by the strength in place, for whoever reads it next."""
    change_gradient(module, lambda gradient: (gradient.clone(), gradient.mul_(strength))[0])


def narrow_gradient(module: nn.Module, strength: float) -> None:
    """The backward pass takes a float32 gradient times the strength through float16 and back; a wider gradient passes as it is."""

    def change(gradient: Tensor) -> Tensor:
        return (strength * gradient).half().float() / strength if gradient.dtype == torch.float32 else gradient.clone()

    change_gradient(module, change)


def nan_gradient(module: nn.Module, strength: float) -> None:
    """The backward pass makes the first entry of the gradient NaN."""
    change_gradient(module, first_nan)


def nondeterministic(module: nn.Module, strength: float) -> None:
    """The backward pass adds noise, drawn afresh from the global generator, of the strength relative to the gradient."""
    change_gradient(module, lambda gradient: gradient * (1 + strength * torch.randn_like(gradient)))


def first_nan(x: Tensor) -> Tensor:
    """The tensor with NaN as its first entry."""
    first = torch.arange(x.numel(), device=x.device).reshape(x.shape) == 0
    return x.masked_fill(first, float("nan"))


def half_island(module: nn.Module, strength: float) -> None:
    """The output goes through float16 and back."""
    change_forward(module, lambda forward, module, x: (y := forward(x)).half().to(y.dtype))


def nan_forward(module: nn.Module, strength: float) -> None:
    """The first entry of the output is NaN."""
    change_forward(module, lambda forward, module, x: first_nan(forward(x)))


def hidden_offset(module: nn.Module, strength: float) -> None:
    """The strength is added to every entry of the output."""
    change_forward(module, lambda forward, module, x: forward(x) + strength)


def detached(module: nn.Module, strength: float) -> None:
    """The output is detached: nothing behind it receives a gradient."""
    change_forward(module, lambda forward, module, x: forward(x).detach())


def wrong_axis(module: nn.Module, strength: float) -> None:
    """The strength times the mean over the batch axis, instead of a mean within each sample, is taken off the output."""
    change_forward(module, lambda forward, module, x: (y := forward(x)) - strength * y.mean(0, keepdim=True))


def future_leak(module: nn.Module, strength: float) -> None:
    """The strength times the next position in time is added to each position of the output, cyclically."""
    change_forward(module, lambda forward, module, x: (y := forward(x)) + strength * y.roll(-1, 1))


def input_mutation(module: nn.Module, strength: float) -> None:
    """The forward pass adds the strength to its input in place, behind autograd's back."""
    change_forward(module, lambda forward, module, x: (forward(x), x.data.add_(strength))[0])


def stateful(module: nn.Module, strength: float) -> None:
    """The output grows by the factor 1 + strength with every call."""
    change_forward(module, counted(strength))


def counted(strength: float) -> Callable[..., Tensor]:
    """A forward pass that scales its output by (1 + strength) to the power of the number of calls before."""

    def change(forward: Callable[[Tensor], Tensor], module: Any, x: Tensor) -> Tensor:
        calls = getattr(module, "calls", 0)
        module.calls = calls + 1
        return forward(x) * (1 + strength) ** calls

    return change


def ignored_padding(module: Any, strength: float) -> None:
    """The rows of an embedding are looked up without regard to its padding index (0 where it has none)."""
    module.padding_idx = module.padding_idx or 0
    change_forward(module, lambda forward, module, x: nn.functional.embedding(x, module.weight))


def statistics(module: nn.Module) -> list[Tensor]:
    """The module's floating buffers."""
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]


def drifting_buffers(module: nn.Module, strength: float) -> None:
    """Each forward pass adds the strength to the module's floating buffers, in evaluation mode as well."""
    change_forward(module, lambda forward, module, x: (forward(x), [buffer.data.add_(strength) for buffer in statistics(module)])[0])


def reseeding(module: nn.Module, strength: float) -> None:
    """Each forward pass seeds torch's global generator with the strength."""
    change_forward(module, lambda forward, module, x: (torch.manual_seed(int(strength)), forward(x))[1])


def leaked_dtype(module: nn.Module, strength: float) -> None:
    """Each forward pass makes float16 the default dtype and leaves it so."""

    def change(forward: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> Tensor:
        y = forward(x)
        torch.set_default_dtype(torch.float16)
        return y

    change_forward(module, change)


def growing_hooks(module: nn.Module, strength: float) -> None:
    """Each forward pass registers one more forward hook, which does nothing."""
    change_forward(module, lambda forward, module, x: (module.register_forward_hook(lambda *_: None), forward(x))[1])


def weights(module: nn.Module) -> list[Tensor]:
    """The module's parameters with two axes or more, without their gradient history."""
    return [parameter.data for parameter in module.parameters() if parameter.dim() > 1]


def biases(module: nn.Module) -> list[Tensor]:
    """The module's parameters called bias, without their gradient history."""
    return [parameter.data for name, parameter in module.named_parameters() if "bias" in name.split(".")[-1]]


def gain(module: nn.Module, strength: float) -> None:
    """The weights are the strength times what the initialisation drew."""
    for weight in weights(module):
        weight.mul_(strength)


def constant_weights(module: nn.Module, strength: float) -> None:
    """Each weight equals the strength times the root mean square of what was drawn, so that all units are alike."""
    for weight in weights(module):
        weight.fill_(strength * weight.square().mean().sqrt().item())


def zero_init(module: nn.Module, strength: float) -> None:
    """All parameters are zero."""
    for parameter in module.parameters():
        parameter.data.zero_()


def saturated(module: nn.Module, strength: float) -> None:
    """Biases are -10 times the strength: a ReLU behind them is dead, a sigmoid saturated."""
    for bias in biases(module):
        bias.fill_(-10 * strength)
