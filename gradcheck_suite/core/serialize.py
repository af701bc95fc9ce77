"""Dataclasses as JSON data. Reading back is ``gradcheck_suite.schema``'s work (pydantic, at the boundary)."""

import dataclasses
import enum
import math
from typing import Any


def to_data(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as JSON data; NaN and infinities as the text ``nan``, ``inf``, ``-inf``.

    Lone surrogates, which a name from a user's model may hold but JSON in UTF-8 cannot, become the text ``\\udXXX``.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {to_data(str(key)): to_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_data(item) for item in value]
    if value is None or isinstance(value, int | bool):
        return value
    raise TypeError(f"{type(value).__name__} is not data")
