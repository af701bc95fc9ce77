"""Declared mismatches: the reason that the owner of a model gave for a gradient that is not the derivative."""

from collections.abc import Mapping


def reason(intended: Mapping[str, str], *names: str | None) -> str:
    """The reason declared for the first of these names (module paths, Functions) that has one, or ``""``."""
    return next((intended[name] for name in names if name is not None and name in intended), "")
