"""Data from JSON, validated: the boundary at which pydantic checks what comes in, and the published JSON Schema."""

import functools
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.report import Report

T = TypeVar("T")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def load(kind: type[T], data: object) -> T:
    """An instance of a core dataclass from JSON data.

    Raises:
        UsageError: the data does not fit; the first misfit is named.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cast("Any", kind))
        return adapter.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"not a valid {getattr(kind, '__name__', kind)}: {place}: {first['msg']}") from None


def load_text(kind: Any, text: str | bytes) -> Any:
    """As ``load``, from JSON text; unions (``Event``) are accepted as well."""
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"not a valid record: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def report_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return _adapter(Report).json_schema()
