"""Nested values of a model's inputs and outputs, rebuilt with other tensors in place of their own."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nesting (sequences, named tuples, mappings, dataclasses) with ``change`` applied to every tensor in it."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        items = {key: mapped(item, change) for key, item in value.items()}
        return items if type(value) is dict else _like(value, items)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: mapped(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        changed = copy.copy(value)
        for name, item in fields.items():
            object.__setattr__(changed, name, item)
        return changed
    return value


def replaced(value: Any, tensors: list[torch.Tensor]) -> Any:
    """The same nesting with its real floating tensors replaced by these, in order."""
    waiting = iter(tensors)
    return mapped(value, lambda tensor: next(waiting) if tensor.is_floating_point() else tensor)


def _like(value: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    changed = copy.copy(value)
    if hasattr(changed, "__setitem__"):
        for key, item in items.items():
            changed[key] = item
        return changed
    return items
