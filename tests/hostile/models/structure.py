"""Models that are built, called or named in uncommon ways; most are healthy."""

import collections
import dataclasses
import threading
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


# --- kinds of modules


def lazy() -> dict[str, Any]:
    return on(nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(2)))


def scripted() -> dict[str, Any]:
    return on(torch.jit.script(mlp()))


def compiled() -> dict[str, Any]:
    return on(torch.compile(mlp()))


def data_parallel() -> dict[str, Any]:
    return on(nn.DataParallel(mlp()))


def meta() -> dict[str, Any]:
    return on(nn.Linear(3, 2, device="meta"))


class NotCopied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.kept = self.body.weight * 2


def not_deep_copyable() -> dict[str, Any]:
    return on(NotCopied())


class Silent(nn.Linear):
    def __repr__(self) -> str:
        raise RuntimeError("repr refused")

    __str__ = extra_repr = __repr__


def repr_raises() -> dict[str, Any]:
    return on(nn.Sequential(Silent(3, 4), nn.Tanh(), Silent(4, 2)))


class Talks(nn.Linear):
    def extra_repr(self) -> str:
        return "x" * 5_000_000


def repr_is_huge() -> dict[str, Any]:
    return on(nn.Sequential(Talks(3, 4), nn.Tanh(), Talks(4, 2)))


class Slotted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        raise TypeError("neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")

    __hash__ = nn.Module.__hash__

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.inner(x))


def refuses_comparison() -> dict[str, Any]:
    return on(Slotted())


def many_modules() -> dict[str, Any]:
    return on(nn.Sequential(*[nn.Identity() for _ in range(200)], nn.Linear(3, 2)))


def nested_deep() -> dict[str, Any]:
    model: nn.Module = mlp()
    for _ in range(150):
        model = nn.Sequential(model)
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


# --- names

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202etxt",
    "nul\0byte",
    "line\nbreak",
    "[/bold]",
    "[red]",
    "\x1b[31m",
    "]]>",
    "{{7*7}}",
    "${x}",
    "=1+1",
    "a b\tc",
    "'; DROP TABLE--",
    "</title>",
    "%s%n",
    "\U0001f525",
    "\u2028",
    "::error::forged",
    "\udcff",
]


def hostile_module_names() -> dict[str, Any]:
    layers = [(name, nn.Linear(3, 3) if index % 2 else nn.Tanh()) for index, name in enumerate(NAMES)]
    return on(nn.Sequential(collections.OrderedDict(layers)))


def hostile_class_names() -> dict[str, Any]:
    kinds = [type(name.replace("\0", ""), (nn.Linear,), {}) for name in NAMES[:6] if "\0" not in name]
    return on(nn.Sequential(*[kind(3, 3) for kind in kinds]))


def hostile_parameter_names() -> dict[str, Any]:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in NAMES:
                self.register_parameter(name, nn.Parameter(torch.ones(3)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x * sum(parameter for parameter in self.parameters()))

    return on(Named())


# --- large ones


def quantised() -> dict[str, Any]:
    return on(torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}))


def hundred_thousand_modules() -> dict[str, Any]:
    return on(nn.Sequential(*[nn.Identity() for _ in range(100_000)], nn.Linear(3, 2)))


def nested_too_deep() -> dict[str, Any]:
    model: nn.Module = mlp()
    for _ in range(1500):
        model = nn.Sequential(model)
    return on(model)


def hundred_million_parameters() -> dict[str, Any]:
    return on(nn.Sequential(nn.Linear(3, 10_000), nn.Tanh(), nn.Linear(10_000, 10_000), nn.Tanh(), nn.Linear(10_000, 2)))
