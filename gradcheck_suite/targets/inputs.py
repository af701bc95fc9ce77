"""Inputs from short texts and shapes: ``4x3x32x32``, ``ids=long:4x16:1000``, ``pkg.module:make``."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

import torch

from gradcheck_suite.core.errors import UsageError

FORMS: Final = "4x3x32x32; double:4x3; long:4x16:1000 (integers below 1000); bool:4x16; NAME= before any of them for a keyword argument"
_SPEC: Final = re.compile(r"(?:(?P<name>[^\W\d]\w*)=)?(?:(?P<kind>[a-z]+\d*):)?(?P<shape>\d+(?:x\d+)*|scalar)(?::(?P<high>\d+))?")
_FLOATS: Final = {"": torch.float32, "float": torch.float32, "double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16,
                  "complex": torch.complex64}
_LARGEST: Final = 1 << 28


def is_spec(text: str) -> bool:
    """Whether the text has the form of a shape rather than of ``module:name``."""
    return _SPEC.fullmatch(text) is not None


def from_specs(texts: tuple[str, ...], generator: torch.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments drawn as the texts say: standard normal, or uniform integers.

    Raises:
        UsageError: a text has another form.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, value = _draw(text, generator)
        if name in kwargs:
            raise UsageError(f"the input {name!r} is given twice", instead="Give each keyword argument once.")
        if name:
            kwargs[name] = value
        else:
            args.append(value)
    return tuple(args), kwargs


def of_shape(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """A standard normal tensor, float32."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def as_arguments(value: Any, generator: torch.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What ``inputs`` may be, as positional and keyword arguments.

    A tensor is one argument; a plain tuple is the arguments (a tuple of integers is a shape); a mapping is keyword
    arguments; a text is a spec. Named tuples (a ``PackedSequence`` is one) are one argument.
    """
    if isinstance(value, str):
        return from_specs((value,), generator)
    if isinstance(value, torch.Size) or (type(value) is tuple and value and all(type(item) is int for item in value)):
        return (of_shape(tuple(value), generator),), {}
    if isinstance(value, Mapping):
        return (), dict(value)
    if type(value) is tuple:
        return value, {}
    return (value,), {}


def called_with_seed(make: Any, seed: int) -> Any:
    """``make(seed)`` where it takes an argument, else ``make()``."""
    try:
        required = [p for p in inspect.signature(make).parameters.values()
                    if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    except (TypeError, ValueError):
        return make(seed)
    return make(seed) if required else make()


def _draw(text: str, generator: torch.Generator) -> tuple[str, Any]:
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not an input", allowed=FORMS, instead="Write the shape of the whole batch, such as 4x3x32x32.")
    kind, high = match["kind"] or "", match["high"]
    shape = () if match["shape"] == "scalar" else tuple(int(size) for size in match["shape"].split("x"))
    if torch.Size(shape).numel() > _LARGEST:
        raise UsageError(f"the input {text!r} has more than {_LARGEST} entries", instead="Write a smaller batch.")
    if kind in ("long", "int"):
        dtype = torch.int64 if kind == "long" else torch.int32
        if high is not None and int(high) < 1:
            raise UsageError(f"the input {text!r} has no integers to draw from", instead="Write how many there are: long:4x16:1000.")
        return match["name"] or "", torch.randint(int(high or 2), shape, generator=generator, dtype=dtype)
    if kind == "bool":
        return match["name"] or "", torch.randint(2, shape, generator=generator) > 0
    if kind not in _FLOATS or high is not None:
        raise UsageError(f"{kind!r} in the input {text!r} is not a kind of number" if kind not in _FLOATS else
                         f"the input {text!r} has an upper end, which only integers take",
                         allowed=FORMS, instead=f"Kinds are {', '.join(k for k in _FLOATS if k)}, long, int, bool.")
    return match["name"] or "", torch.randn(shape, generator=generator, dtype=_FLOATS[kind])
