"""Uncommon kinds of modules, hostile names, and sizes; most are healthy."""

import collections
import threading
from typing import Any

import torch
from torch import nn


class Net(nn.Module):
    """Linear, tanh, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(x)))


def mlp(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *middle, nn.Linear(4, 2))


def on(model: nn.Module) -> dict[str, Any]:
    return {"model": model, "inputs": torch.randn(5, 3)}


def healthy() -> dict[str, Any]:
    return on(mlp())


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
                self.register_parameter(name, nn.Parameter(torch.full((3,), 0.05)))

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
