"""Nested arguments as a flat list of named arrays, and gradients of the same structure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import kind_of

ALLOWED = "a numpy array of floats, a float, or a tuple, list or dict of these, nested or not"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of an argument: its name (``W1``, ``layers[0].W``, ``x[1]``) and its values."""

    path: str
    array: np.ndarray


@dataclass(frozen=True, slots=True)
class Nested:
    """An argument taken apart: its arrays in order, and how to put such an argument together from others (not copied)."""

    leaves: tuple[Leaf, ...]
    rebuild: Callable[[Sequence[np.ndarray]], Any]


def nested(value: Any, name: str = "x") -> Nested:
    """An argument as named arrays.

    Raises:
        UsageError: it holds anything but finite real floating-point arrays, or nothing at all.
    """
    leaves = tuple(_leaves(value, name, top=True))
    if not sum(leaf.array.size for leaf in leaves):
        raise UsageError(f"{name} holds no numbers: there is nothing to differentiate with respect to", allowed=ALLOWED)
    return Nested(leaves, lambda arrays: _rebuilt(value, iter(arrays)))


def _leaves(value: Any, path: str, *, top: bool = False) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, str(key) if top else f"{path}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield Leaf(path, real(value, path))


def real(value: Any, path: str) -> np.ndarray:
    """A leaf as an array of its own, float64 whatever its precision was.

    Raises:
        UsageError: it is not a finite, real, floating-point array.
    """
    if isinstance(value, bool | int | complex) or (isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "f"):
        kind = str(value.dtype) if isinstance(value, np.ndarray | np.generic) else type(value).__name__
        raise UsageError(f"{path} is of type {kind}, which has no real derivative here", allowed=ALLOWED, instead=_instead(kind, path))
    if not isinstance(value, float | np.ndarray | np.floating) or isinstance(value, np.ma.MaskedArray):
        raise UsageError(f"{path} is of type {kind_of(value)}", allowed=ALLOWED, instead="Keep what is not an array inside f.")
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise UsageError(f"{path} has {int((~np.isfinite(array)).sum())} entries that are not finite", allowed="finite numbers")
    return array


def _instead(kind: str, path: str) -> str:
    if "complex" in kind:
        return f"Give the real and the imaginary part of {path} as two arrays."
    if kind == "object":
        return "Give a tuple, list or dict of arrays where an array of objects was used."
    return f"Write {path} with floats ({path}.astype(float)), or keep it inside f if it is an index or a label."


def _rebuilt(value: Any, arrays: Iterator[np.ndarray]) -> Any:
    if isinstance(value, Mapping):
        items = {key: _rebuilt(item, arrays) for key, item in value.items()}
        return items if type(value) is dict else _like(value, items)
    if isinstance(value, tuple | list):
        parts = [_rebuilt(item, arrays) for item in value]
        if isinstance(value, list):
            return parts
        make = getattr(type(value), "_make", None)
        return make(parts) if make is not None else tuple(parts)
    array = next(arrays)
    return array if isinstance(value, np.ndarray) else type(value)(array.item())


def _like(value: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    try:
        return type(value)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def matched(gradient: Any, value: Any, name: str, writer: str) -> list[np.ndarray]:
    """The arrays of a gradient that must have the structure of the argument, in the argument's order.

    Args:
        gradient: what ``writer`` returned.
        value: the argument.
        name: of the argument, for messages.
        writer: what made the gradient, for messages.

    Raises:
        UsageError: structure, shape or type differ.
    """
    return list(_matched(gradient, value, name, writer, top=True))


def _matched(gradient: Any, value: Any, path: str, writer: str, *, top: bool = False) -> Iterator[np.ndarray]:
    if isinstance(value, Mapping):
        if not isinstance(gradient, Mapping) or set(gradient) != set(value):
            got = f"the keys {sorted(map(str, gradient))}" if isinstance(gradient, Mapping) else kind_of(gradient)
            raise UsageError(f"{writer} returned {got} for {path}", allowed=f"a dict with the keys {sorted(map(str, value))}")
        for key, item in value.items():
            yield from _matched(gradient[key], item, str(key) if top else f"{path}.{key}", writer)
    elif isinstance(value, tuple | list):
        if not isinstance(gradient, tuple | list) or len(gradient) != len(value):
            got = f"{len(gradient)} gradients" if isinstance(gradient, tuple | list) else kind_of(gradient)
            raise UsageError(f"{writer} returned {got} for the {len(value)} items of {path}",
                             allowed="one gradient per item, in the same order")
        for index, item in enumerate(value):
            yield from _matched(gradient[index], item, f"{path}[{index}]", writer)
    else:
        yield gradient_array(gradient, np.shape(value), path, writer)


def gradient_array(gradient: Any, shape: tuple[int, ...], path: str, writer: str) -> np.ndarray:
    """One gradient as a real array of its own, in its own floating-point precision.

    Raises:
        UsageError: it is missing, not real, or not of the argument's shape.
    """
    if gradient is None:
        raise UsageError(f"{writer} gave no gradient for {path} (None)", allowed=f"an array of shape {shape}",
                         instead="Return zeros where the function does not depend on an argument.")
    array = np.array(gradient) if isinstance(gradient, np.ndarray | np.generic | float | int) else None
    if array is None or array.dtype.kind not in "fiu":
        kind = kind_of(gradient) if array is None else str(array.dtype)
        raise UsageError(f"{writer} gave a gradient of type {kind} for {path}", allowed=f"an array of floats of shape {shape}")
    if array.shape != shape:
        raise UsageError(f"{writer} gave a gradient of shape {array.shape} for {path}, which has shape {shape}",
                         allowed=f"the shape {shape}", instead=_reshaping(array.shape, shape))
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _reshaping(got: tuple[int, ...], due: tuple[int, ...]) -> str:
    if got == due[::-1]:
        return "It has the shape of the transpose: the product that makes it has its factors in the wrong order."
    summed = got[1:] == due or (got[1:] == due[1:] and len(got) == len(due) and due[:1] == (1,))
    if summed:
        return "Sum it over its first axis (the samples)."
    if np.prod(got) == np.prod(due):
        return f"Reshape it to {due}."
    return "A gradient has one entry for each entry of its argument."
