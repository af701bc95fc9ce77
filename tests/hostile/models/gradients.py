"""Gradients that are wrong, and gradients that only look it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def function(name: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """An ``autograd.Function`` of one tensor; ``backward(grad, x)``."""

    def run(ctx: Any, x: torch.Tensor) -> Any:
        ctx.save_for_backward(x)
        return forward(x)

    def back(ctx: Any, grad: torch.Tensor) -> Any:
        return backward(grad, *ctx.saved_tensors)

    return type(name, (torch.autograd.Function,), {"forward": staticmethod(run), "backward": staticmethod(back)})


class Act(nn.Module):
    def __init__(self, act: Callable[..., Any]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: torch.Tensor) -> Any:
        return self.act(x)


def net(act: Callable[..., Any]) -> dict[str, Any]:
    return {"model": nn.Sequential(nn.Linear(3, 4), Act(act), nn.Linear(4, 2)), "inputs": torch.randn(5, 3)}


def slope_of_tanh(x: torch.Tensor) -> torch.Tensor:
    return 1 - torch.tanh(x) ** 2


def healthy() -> dict[str, Any]:
    return net(function("GoodTanh", torch.tanh, lambda grad, x: grad * slope_of_tanh(x)).apply)


def one_percent_too_large() -> dict[str, Any]:
    return net(function("LargeTanh", torch.tanh, lambda grad, x: 1.01 * grad * slope_of_tanh(x)).apply)


def wrong_sign() -> dict[str, Any]:
    return net(function("SignTanh", torch.tanh, lambda grad, x: -grad * slope_of_tanh(x)).apply)


def rounds_straight_through() -> dict[str, Any]:
    return net(function("RoundThrough", torch.round, lambda grad, x: grad).apply)


def scaled_by_a_hook() -> dict[str, Any]:
    spec = net(torch.tanh)
    spec["model"][0].register_full_backward_hook(lambda module, into, out: (into[0] * 2,) if into[0] is not None else None)
    return {**spec, "inputs": torch.randn(5, 3, requires_grad=True)}


def hidden_weight_scaled_by_a_hook() -> dict[str, Any]:
    spec = net(torch.tanh)
    spec["model"][0].weight.register_hook(lambda grad: grad * 1.5)
    return spec


class FromPoint(nn.Module):
    def __init__(self, point: torch.Tensor, act: Callable[..., Any]) -> None:
        super().__init__()
        self.point, self.act = nn.Parameter(point), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.point) * x


def kink() -> dict[str, Any]:
    return {"model": FromPoint(torch.zeros(3), torch.relu), "inputs": 1 + torch.rand(4, 3)}


def ties() -> dict[str, Any]:
    return {"model": FromPoint(torch.ones(3), lambda point: point.max() + 0 * point), "inputs": 1 + torch.rand(4, 3)}


def chaos() -> dict[str, Any]:
    def logistic(x: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(x)
        for _ in range(80):
            x = 3.9 * x * (1 - x)
        return x

    return net(logistic)


def float32_island() -> dict[str, Any]:
    return net(lambda x: torch.tanh(x.float()).to(x.dtype))


def autocast() -> dict[str, Any]:
    def act(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = x @ x.T
        return torch.tanh(mixed.to(x.dtype) @ x)

    return net(act)


def complex_inside() -> dict[str, Any]:
    return net(lambda x: torch.fft.ifft(torch.fft.fft(x) * 1j).real)


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.table(ids)))


def sparse() -> dict[str, Any]:
    return {"model": Sparse(), "inputs": torch.tensor([[0, 3, 3], [8, 1, 0]])}


def second_output_detached() -> dict[str, Any]:
    return {"model": nn.Sequential(nn.Linear(3, 4), Act(lambda x: (torch.tanh(x), x.detach()))), "inputs": torch.randn(5, 3)}


def nan_behind_where() -> dict[str, Any]:
    return net(lambda x: torch.where(x > 1e3, torch.sqrt(x - 1e3), x))
