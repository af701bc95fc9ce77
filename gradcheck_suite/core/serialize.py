"""Dataclasses as JSON data. Reading back is ``gradcheck_suite.schema``'s work (pydantic, at the boundary)."""

import dataclasses
import enum
import math
from typing import Any


def to_data(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as JSON data; NaN and infinities as the text ``nan``, ``inf``, ``-inf``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): to_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_data(item) for item in value]
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"{type(value).__name__} is not data")
