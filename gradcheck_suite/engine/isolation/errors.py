"""Errors as JSON data, on their way from a child to its parent."""

from typing import Any

from gradcheck_suite.core.errors import GradcheckError, NotApplicable, SubjectError, TargetError, UsageError
from gradcheck_suite.core.failures import LONGEST_DETAILS, shown


def error_to_data(error: GradcheckError) -> dict[str, Any]:
    """An error of ours as data."""
    match error:
        case UsageError():
            return {"kind": "target" if isinstance(error, TargetError) else "usage", "got": _cut(error.got), "allowed": _cut(error.allowed),
                    "instead": _cut(error.instead), "details": _cut(getattr(error, "details", ""))}
        case SubjectError():
            return {"kind": "subject", "message": _cut(error), "stage": _cut(error.stage),
                    "module": None if error.module is None else _cut(error.module), "details": _cut(error.details)}
        case _:
            return {"kind": "not-applicable", "message": _cut(error)}


def error_from_data(data: dict[str, Any]) -> NotApplicable | SubjectError | UsageError:
    """The error that ``error_to_data`` described."""
    match data.get("kind"):
        case "target":
            return TargetError(_text(data, "got"), allowed=_text(data, "allowed"), instead=_text(data, "instead"),
                               details=_text(data, "details"))
        case "usage":
            return UsageError(_text(data, "got"), allowed=_text(data, "allowed"), instead=_text(data, "instead"))
        case "not-applicable":
            return NotApplicable(_text(data, "message"))
        case _:
            module = data.get("module")
            return SubjectError(_text(data, "message"), stage=_text(data, "stage"), module=module if isinstance(module, str) else None,
                                details=_text(data, "details"))


def _cut(value: object) -> str:
    return shown(value, LONGEST_DETAILS)


def _text(data: dict[str, Any], key: str) -> str:
    return str(data.get(key, ""))
