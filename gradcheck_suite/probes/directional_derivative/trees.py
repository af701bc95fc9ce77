"""Nested inputs and outputs: tensors taken out with readable paths, and the same nesting built again around others."""

import copy
import dataclasses
import enum
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, range, slice, torch.dtype, torch.device, torch.Size)
_MOST_NODES: Final = 4000
_DEEPEST: Final = 12


def inexact(value: Any) -> bool:
    """Whether a value is a dense floating or complex tensor: something that can carry a gradient."""
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex()) and value.layout == torch.strided


class Tree:
    """A nested value with its inexact tensors taken out.

    ``leaves`` are those tensors in order, each once: a tensor that appears twice is one leaf, so that the value built
    again has the same sharing. Lists, tuples, named tuples, mappings, dataclasses and plain objects are nodes and are made
    anew by ``build``, so that a call that writes into them does not spoil the next; everything else is kept as it is.
    """

    __slots__ = ("_node", "leaves")

    def __init__(self, value: Any) -> None:
        self._node: _Part
        if isinstance(value, torch.Tensor) and inexact(value):
            self.leaves, self._node = [value], _ONLY
        elif type(value) is tuple and len(value) == 1 and inexact(value[0]):
            self.leaves, self._node = [value[0]], _ALONE
        else:
            self.leaves = []
            self._node = _Planting(self.leaves).node(value, 0)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The nested value with other leaves."""
        return _built(self._node, leaves)

    def paths(self, names: Sequence[str] = ()) -> list[str]:
        """One readable path per leaf, such as ``mask``, ``hidden[0]`` or ``state['h']``; ``names`` replace the first step."""
        found: list[str] = [""] * len(self.leaves)
        for position, path in _paths(self._node, "", list(names)):
            found[position] = found[position] or path
        return found


@dataclasses.dataclass(slots=True)
class _Leaf:
    position: int


@dataclasses.dataclass(slots=True)
class _Kept:
    value: Any


@dataclasses.dataclass(slots=True)
class _Node:
    make: Callable[[list[Any]], Any]
    steps: list[str]
    children: "list[_Leaf | _Kept | _Node]"


_Part = _Leaf | _Kept | _Node
_ONLY: Final = _Leaf(0)
_ALONE: Final = _Node(tuple, ["[0]"], [_ONLY])


class _Planting:
    """One descent; sharing and cycles are recognised by identity."""

    def __init__(self, leaves: list[torch.Tensor]) -> None:
        self.leaves, self.positions, self.open, self.count = leaves, dict[int, int](), set[int](), 0

    def node(self, value: Any, depth: int) -> _Part:
        if isinstance(value, torch.Tensor):
            return self.leaf(value) if inexact(value) else _Kept(value)
        if isinstance(value, _PLAIN) or depth > _DEEPEST or self.count > _MOST_NODES or id(value) in self.open:
            return _Kept(value)
        taken = _apart(value)
        if taken is None:
            return _Kept(value)
        make, steps, items = taken
        self.count += 1
        self.open.add(id(value))
        children = [self.node(item, depth + 1) for item in items]
        self.open.discard(id(value))
        return _Node(make, steps, children)

    def leaf(self, tensor: torch.Tensor) -> _Leaf:
        position = self.positions.setdefault(id(tensor), len(self.leaves))
        if position == len(self.leaves):
            self.leaves.append(tensor)
        return _Leaf(position)


def _built(part: _Part, leaves: Sequence[Any]) -> Any:
    if isinstance(part, _Leaf):
        return leaves[part.position]
    if isinstance(part, _Kept):
        return part.value
    return part.make([_built(child, leaves) for child in part.children])


def _paths(part: _Part, prefix: str, names: list[str]) -> Iterator[tuple[int, str]]:
    if isinstance(part, _Leaf):
        yield part.position, prefix or "tensor"
    elif isinstance(part, _Node):
        for index, (step, child) in enumerate(zip(part.steps, part.children, strict=True)):
            here = names[index] if not prefix and index < len(names) and names[index] else prefix + step
            yield from _paths(child, here, [])


_Taken = tuple[Callable[[list[Any]], Any], list[str], list[Any]]


def _apart(value: Any) -> _Taken | None:
    kind = type(value)
    if kind in (list, tuple):
        return kind, [f"[{index}]" for index in range(len(value))], list(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind._make, [f".{name}" for name in value._fields], list(value)
    if kind is dict:
        keys = list(value)
        return lambda items: dict(zip(keys, items, strict=True)), [f"[{key!r}]" for key in keys], list(value.values())
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple | deque):
        return _copied(value, [f"[{index}]" for index in range(len(value))], list(value))
    return _object(value)


def _mapping(value: Mapping[Any, Any]) -> _Taken | None:
    if not hasattr(value, "__setitem__"):
        return None
    keys = list(value)

    def make(items: list[Any]) -> Any:
        made: Any = copy.copy(value)
        for key, item in zip(keys, items, strict=True):
            made[key] = item
        return made

    return make, [f"[{key!r}]" for key in keys], [value[key] for key in keys]


def _copied(value: Any, steps: list[str], items: list[Any]) -> _Taken | None:
    def make(items: list[Any]) -> Any:
        if isinstance(value, tuple):
            return type(value)(items)
        made = copy.copy(value)
        made.clear()
        made.extend(items)
        return made

    return make, steps, items


def _object(value: Any) -> _Taken | None:
    """A dataclass, or an object of somebody's class that keeps its facts in ``__dict__``."""
    kind = type(value)
    foreign = isinstance(value, type | nn.Module | enum.Enum) or callable(value) or inspect.ismodule(value)
    if foreign or kind.__module__ in ("builtins", "threading", "logging", "random", "pathlib"):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    elif hasattr(value, "__dict__"):
        names = list(vars(value))
    else:
        return None
    if kind.__module__.startswith(("torch.", "numpy")) and not kind.__module__.startswith("torch.distributions"):
        return None

    def make(items: list[Any]) -> Any:
        made = copy.copy(value)
        for name, item in zip(names, items, strict=True):
            object.__setattr__(made, name, item)
        return made

    return make, [f".{name}" for name in names], [getattr(value, name) for name in names]


def argument_names(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Names for the leaves of ``(*args, *kwargs.values())`` from the signature of the module's forward method."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    named = [plain[index] if index < len(plain) else f"{rest}[{index - len(plain)}]" for index in range(len(args))]
    return [*named, *kwargs]


def inexact_leaves(value: Any) -> list[torch.Tensor]:
    """The tensors of a nested value that can carry a gradient, each once, in order."""
    if isinstance(value, torch.Tensor):
        return [value] if inexact(value) else []
    return Tree(value).leaves


def exact_paths(value: Any) -> Iterable[str]:
    """Paths and dtypes of the integer and boolean tensors in a nested value: what cannot be perturbed."""
    yield from _exact(value, "", 0)


def _exact(value: Any, prefix: str, depth: int) -> Iterator[str]:
    if isinstance(value, torch.Tensor):
        if not inexact(value):
            yield f"{prefix or 'tensor'} ({str(value.dtype).removeprefix('torch.')})"
        return
    taken = None if isinstance(value, _PLAIN) or depth > _DEEPEST else _apart(value)
    if taken is not None:
        for step, item in zip(taken[1], taken[2], strict=True):
            yield from _exact(item, prefix + step, depth + 1)
