"""Captures as bytes: a JSON header and raw arrays, never pickles, so that a child process cannot smuggle in behaviour.

Layout: 8 bytes little-endian header length, the header, then the arrays one after another. In the header an array is
``{"__array__": [dtype, shape, offset]}`` and a dataclass ``{"__type__": "module:Name", "fields": {...}}``.
"""

import dataclasses
import enum
import importlib
import json
import math
from collections.abc import Callable
from json import dumps as _dumps  # bound before any code of the user's runs
from typing import Any

import numpy as np

from gradcheck_suite.core.errors import GradcheckError

_PACKAGES = ("gradcheck_suite.captures.", "gradcheck_suite.core.")
_DTYPES = {"<f8", "<i8", "|b1"}


class BadCapture(GradcheckError):
    """The bytes are not a capture."""


def frozen(values: Any, dtype: str = "<f8") -> np.ndarray:
    """A read-only array of its own, contiguous, in one of the dtypes that travel (float64, int64, bool)."""
    array = np.array(values, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


def encode(capture: Any) -> bytes:
    """A capture as bytes."""
    arrays: list[bytes] = []
    offset = 0

    def pack(value: Any) -> Any:
        nonlocal offset
        if isinstance(value, np.ndarray):
            data = np.ascontiguousarray(value)
            if data.dtype.str not in _DTYPES:
                raise TypeError(f"an array of {data.dtype} does not travel: use float64, int64 or bool")
            arrays.append(data.tobytes())
            start, offset = offset, offset + data.nbytes
            return {"__array__": [data.dtype.str, list(value.shape), start]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: pack(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return {"__type__": f"{type(value).__module__}:{type(value).__qualname__}", "fields": fields}
        if isinstance(value, enum.Enum):
            return pack(value.value)
        if isinstance(value, float) and not math.isfinite(value):
            return {"__float__": str(value)}
        if isinstance(value, dict):
            return {"__dict__": [[pack(k), pack(v)] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            return [pack(item) for item in value]
        if isinstance(value, np.generic):
            return pack(value.item())
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise TypeError(f"{type(value).__name__} does not travel in a capture")

    header = _dumps(pack(capture), ensure_ascii=True).encode()
    return len(header).to_bytes(8, "little") + header + b"".join(arrays)


def decode(blob: bytes) -> Any:
    """The capture that ``encode`` wrote; sequences come back as tuples, arrays read-only.

    Raises:
        BadCapture: the bytes are torn, or name a type that is not a capture.
    """
    try:
        size = int.from_bytes(blob[:8], "little")
        header, body = json.loads(blob[8 : 8 + size]), blob[8 + size :]
        return _unpack(header, body)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ImportError, RecursionError) as error:
        raise BadCapture(f"not a capture: {type(error).__name__}: {str(error)[:200]}") from None


def _unpack(value: Any, body: bytes) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item, body) for item in value)
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        dtype, shape, start = value["__array__"]
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype!r}")
        array = np.frombuffer(body, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape)
        array.setflags(write=False)
        return array
    if "__float__" in value:
        return float(value["__float__"])
    if "__dict__" in value:
        return {_unpack(k, body): _unpack(v, body) for k, v in value["__dict__"]}
    module, _, name = value["__type__"].partition(":")
    if not module.startswith(_PACKAGES):
        raise ValueError(f"type {value['__type__']!r}")
    kind: Any = getattr(importlib.import_module(module), name)
    if not dataclasses.is_dataclass(kind):
        raise ValueError(f"type {value['__type__']!r}")
    make: Callable[..., Any] = kind if isinstance(kind, type) else type(kind)
    return make(**{key: _unpack(item, body) for key, item in value["fields"].items()})
