"""Models that are built, called or named in uncommon ways; most are healthy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Net(nn.Module):
    """Linear, tanh, linear; ``finish`` makes the output of the result."""

    def __init__(self, finish: Callable[[Any, torch.Tensor], Any] = lambda model, y: y) -> None:
        super().__init__()
        self.body, self.head, self.finish = nn.Linear(3, 4), nn.Linear(4, 2), finish

    def forward(self, x: torch.Tensor) -> Any:
        return self.finish(self, self.head(torch.tanh(self.body(x))))


def output(finish: Callable[[Any, torch.Tensor], Any]) -> dict[str, Any]:
    return {"model": Net(finish), "inputs": torch.randn(5, 3)}


def mlp(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *middle, nn.Linear(4, 2))


def on(model: nn.Module, inputs: Any = None) -> dict[str, Any]:
    return {"model": model, "inputs": torch.randn(5, 3) if inputs is None else inputs}


def healthy() -> dict[str, Any]:
    return on(mlp())


# --- outputs


def other_shapes_each_time() -> dict[str, Any]:
    passes: list[int] = []
    return output(lambda model, y: (passes.append(1), y.repeat(1 + len(passes) % 3, 1))[1])


def more_outputs_each_time() -> dict[str, Any]:
    passes: list[int] = []
    return output(lambda model, y: (passes.append(1), [y] * (1 + len(passes) % 2))[1])


@dataclasses.dataclass
class Out:
    logits: torch.Tensor
    count: int = 1
    nothing: object = None
    more: tuple[torch.Tensor, ...] = ()


def nested_output() -> dict[str, Any]:
    return output(lambda model, y: {"a": [y, (y * 2, None)], "b": {"c": y.sum(), "n": 3}, "s": "text"})


def dataclass_output() -> dict[str, Any]:
    return output(lambda model, y: Out(y, more=(y * 2,)))


def integer_beside_float_output() -> dict[str, Any]:
    return output(lambda model, y: (y.argmax(-1), y))


def integer_output() -> dict[str, Any]:
    return output(lambda model, y: y.argmax(-1))


def no_output() -> dict[str, Any]:
    return output(lambda model, y: None)


# --- parameters


def no_parameters() -> dict[str, Any]:
    return on(nn.Tanh())


def all_frozen() -> dict[str, Any]:
    return on(nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)).requires_grad_(False), torch.tensor([0, 3]))


def some_frozen() -> dict[str, Any]:
    model = mlp()
    model[0].requires_grad_(False)
    return on(model)


class Unregistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = [nn.Linear(3, 4)], nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.layers[0](x)))


def unregistered() -> dict[str, Any]:
    return on(Unregistered())


def unused() -> dict[str, Any]:
    model = Net()
    model.spare = nn.Linear(7, 7)
    return on(model)


def tied() -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return on(model)


def one_module_twice() -> dict[str, Any]:
    layer = nn.Linear(3, 3)
    return on(nn.Sequential(layer, nn.Tanh(), layer))


def parametrised() -> dict[str, Any]:
    return on(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)))


def parameter_without_entries() -> dict[str, Any]:
    model = mlp()
    model.empty = nn.Parameter(torch.zeros(0, 3))
    return on(model)


def scalar_parameter() -> dict[str, Any]:
    model = Net(lambda model, y: y * model.scale)
    model.scale = nn.Parameter(torch.tensor(2.0))
    return on(model)


# --- inputs


def integer_input() -> dict[str, Any]:
    return on(nn.Sequential(nn.Embedding(9, 4), nn.Tanh(), nn.Linear(4, 2)), torch.tensor([[1, 2], [3, 8]]))


class Masked(Net):
    def forward(self, x: torch.Tensor, mask: torch.Tensor, *, scale: float) -> torch.Tensor:
        return super().forward(x) * mask * scale


def boolean_input_and_keywords() -> dict[str, Any]:
    return {
        "model": Masked(),
        "inputs": (torch.randn(5, 3), torch.tensor([[True], [False], [True], [True], [False]])),
        "kwargs": {"scale": 2.0},
    }


def missing_keyword() -> dict[str, Any]:
    return {"model": Masked(), "inputs": (torch.randn(5, 3), torch.ones(5, 1))}


def empty_batch() -> dict[str, Any]:
    return on(mlp(), torch.randn(0, 3))


def empty_output() -> dict[str, Any]:
    class NothingLeft(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:0]

    return on(mlp(NothingLeft()), torch.randn(5, 3))


def batch_of_one_with_batch_norm() -> dict[str, Any]:
    return on(mlp(nn.BatchNorm1d(4)), torch.randn(1, 3))


def scalar_input() -> dict[str, Any]:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.5, 2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.weight * x)

    return on(Scales(), torch.tensor(0.7))


def wrong_shape() -> dict[str, Any]:
    return on(mlp(), torch.randn(5, 4))


def integers_for_a_linear_layer() -> dict[str, Any]:
    return on(mlp(), torch.ones(5, 3, dtype=torch.long))


def loss_that_raises() -> dict[str, Any]:
    def refuse(y: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("the loss refused")

    return {**on(mlp()), "targets": torch.zeros(5, 2), "loss": refuse}


def loss_that_is_no_scalar() -> dict[str, Any]:
    return {**on(mlp()), "targets": torch.zeros(5, 2), "loss": lambda y, targets: (y - targets) ** 2}
