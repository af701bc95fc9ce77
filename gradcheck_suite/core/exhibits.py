"""Exhibits: what evidence shows beside its number. Typed data; drawing them is reporting's business alone."""

from dataclasses import dataclass
from typing import Final, Literal

SMALLEST_NETWORK: Final = "Smallest network that breaks it"
"""Title of the exhibit in which a search lists the layers of what it found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a curve: ``y`` over ``x``, both of the same length; ``error`` is a half-width per point or empty."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Lines over a common axis, with an optional shaded band ``(x, low, high)`` of allowed values."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    band: tuple[tuple[float, float, float], ...] = ()
    log_y: bool = False
    kind: Literal["curve"] = "curve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts between ``len(counts) + 1`` edges, with an optional marker at a reference value."""

    title: str
    x_label: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    marker: float | None = None
    kind: Literal["histogram"] = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells, as many as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int, ...], ...]
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Text to read or run, literally: a script that reproduces a finding, a traceback, a log tail."""

    title: str
    text: str
    language: str = "text"
    kind: Literal["code"] = "code"


Exhibit = Curve | Histogram | Table | Code
