"""Activation functions as torch operations: which they are, and the slope they let a gradient through with."""

import math
from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor
Slope = Callable[[Tensor, tuple[Any, ...]], Tensor]

aten = torch.ops.aten


def _gelu(x: Tensor, _: tuple[Any, ...]) -> Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return (0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))) + x * density).abs() / 1.1289


def _silu(x: Tensor, _: tuple[Any, ...]) -> Tensor:
    gate = torch.sigmoid(x)
    return (gate * (1.0 + x * (1.0 - gate))).abs() / 1.0998


def _mish(x: Tensor, _: tuple[Any, ...]) -> Tensor:
    squashed = torch.tanh(torch.nn.functional.softplus(x))
    return (squashed + x * torch.sigmoid(x) * (1.0 - squashed * squashed)).abs() / 1.0885


def _elu(x: Tensor, rest: tuple[Any, ...]) -> Tensor:
    alpha = float(rest[0]) if rest else 1.0
    return torch.where(x > 0, torch.ones_like(x), alpha * torch.exp(x.clamp(max=0.0))) / max(1.0, alpha)


def _leaky(x: Tensor, rest: tuple[Any, ...]) -> Tensor:
    slope = abs(float(rest[0])) if rest else 0.01
    return torch.where(x > 0, 1.0, slope).to(x.dtype) / max(1.0, slope)


def _hardtanh(x: Tensor, rest: tuple[Any, ...]) -> Tensor:
    low, high = (float(rest[0]), float(rest[1])) if len(rest) > 1 else (-1.0, 1.0)
    return ((x > low) & (x < high)).to(x.dtype)


def _sigmoid(x: Tensor, _: tuple[Any, ...]) -> Tensor:
    value = torch.sigmoid(x)
    return 4.0 * value * (1.0 - value)


def _tanh(x: Tensor, _: tuple[Any, ...]) -> Tensor:
    return 1.0 - torch.tanh(x).square()


# operation -> (name, slope at the input relative to the largest slope the function has; further arguments of the operation)
SLOPES: dict[Any, tuple[str, Slope]] = {
    aten.relu: ("relu", lambda x, _: (x > 0).to(x.dtype)),
    aten.threshold: ("relu", lambda x, rest: (x > float(rest[0] if rest else 0.0)).to(x.dtype)),
    aten.leaky_relu: ("leaky_relu", _leaky),
    aten.elu: ("elu", _elu),
    aten.gelu: ("gelu", _gelu),
    aten.silu: ("silu", _silu),
    aten.mish: ("mish", _mish),
    aten.softplus: ("softplus", lambda x, _: torch.sigmoid(x)),
    aten.hardtanh: ("hardtanh", _hardtanh),
    aten.sigmoid: ("sigmoid", _sigmoid),
    aten.tanh: ("tanh", _tanh),
}
SOFTMAX = (aten._softmax, aten._safe_softmax, aten.softmax)
ATTENTION = tuple(
    getattr(aten, name)
    for name in ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention", "scaled_dot_product_attention",
                 "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math", "_scaled_dot_product_cudnn_attention")
    if hasattr(aten, name)
)
PRODUCTS = (aten.bmm, aten.mm, aten.baddbmm, aten.addmm, aten.matmul)
CONVOLUTIONS = (aten.convolution, aten._convolution)


def packet(operation: Any) -> Any:
    """The operation without its overload; an in-place one (``relu_``) as its plain twin."""
    found = getattr(operation, "overloadpacket", operation)
    name = str(getattr(found, "__name__", found)).rpartition(".")[2]
    if name.endswith("_") and not name.endswith("__") and hasattr(aten, name[:-1]):
        return getattr(aten, name[:-1])
    return found
