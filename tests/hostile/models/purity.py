"""Models whose forward pass leaves traces, or does not repeat."""

import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Step = Callable[["Net", torch.Tensor], "torch.Tensor | None"]


class Net(nn.Module):
    """Linear, tanh, linear; the step before them gets the whole model and may replace the input."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.body, self.head, self.step, self.calls = nn.Linear(3, 4), nn.Linear(4, 2), step, 0
        self.register_buffer("total", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        replaced = self.step(self, x)
        return self.head(torch.tanh(self.body(x if replaced is None else replaced)))


def net(step: Step) -> dict[str, Any]:
    return {"model": Net(step), "inputs": torch.linspace(-1, 1, 15).reshape(5, 3)}


def quiet(action: Callable[["Net", torch.Tensor], Any]) -> dict[str, Any]:
    """A step that only acts."""

    def step(model: Net, x: torch.Tensor) -> None:
        with torch.no_grad():
            action(model, x)

    return net(step)


def healthy() -> dict[str, Any]:
    return net(lambda model, x: x)


def random_factor() -> dict[str, Any]:
    return net(lambda model, x: x * torch.rand(()))


def random_factor_of_another_generator() -> dict[str, Any]:
    generator = random.Random(0)
    return net(lambda model, x: x * generator.random())


def dropout_in_train_mode() -> dict[str, Any]:
    return {"model": nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)), "inputs": torch.ones(4, 3)}


def wall_clock() -> dict[str, Any]:
    return net(lambda model, x: x * (1 + time.perf_counter() % 1))


def call_counter() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> torch.Tensor:
        model.calls += 1
        return x * model.calls

    return net(step)


def alternates() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> torch.Tensor:
        model.calls += 1
        return x if model.calls % 2 else 2 * x

    return net(step)


def weight_changed_in_place() -> dict[str, Any]:
    return quiet(lambda model, x: model.body.weight.mul_(0.99))


def weight_changed_through_data() -> dict[str, Any]:
    return quiet(lambda model, x: model.body.weight.data.mul_(0.99))


def input_changed_in_place() -> dict[str, Any]:
    return quiet(lambda model, x: x.data.mul_(1.5))


def drifting_buffer() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> torch.Tensor:
        model.total += 1
        return x * (1 + 0.1 * model.total)

    return net(step)


def batch_norm_in_train_mode() -> dict[str, Any]:
    return {"model": nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)), "inputs": torch.randn(8, 3)}


def spectral_norm_in_train_mode() -> dict[str, Any]:
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))
    return {"model": model, "inputs": torch.randn(5, 3)}


def reseeds_globally() -> dict[str, Any]:
    return net(lambda model, x: (torch.manual_seed(0), x)[1])


def changes_the_default_dtype() -> dict[str, Any]:
    return quiet(lambda model, x: torch.set_default_dtype(torch.float64))


def turns_gradients_off() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> None:
        if model.calls:
            torch.set_grad_enabled(False)
        model.calls += 1

    return net(step)


def changes_the_number_of_threads() -> dict[str, Any]:
    return quiet(lambda model, x: torch.set_num_threads(3))


def backward_inside_forward() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> None:
        with torch.enable_grad():
            model.head(torch.tanh(model.body(x.detach()))).sum().backward()

    return net(step)


def registers_a_parameter_per_call() -> dict[str, Any]:
    def step(model: Net, x: torch.Tensor) -> None:
        model.calls += 1
        model.register_parameter(f"extra{model.calls}", nn.Parameter(torch.ones(1)))

    return net(step)


def freezes_a_parameter_per_call() -> dict[str, Any]:
    return net(lambda model, x: (model.body.bias.requires_grad_(False), x)[1])
