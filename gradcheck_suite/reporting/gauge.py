"""The gauge: a value with its error against its bounds, as a small picture drawn from four numbers.

Its axis is ``asinh((x - centre) / scale)``: linear about the bounds, logarithmic far from them, so that a bound of 10⁻⁷ and
a value of 0.03 are both seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.reporting.numbers import plain

WIDTH: Final = 340.0
_EDGE: Final = 14.0  # room left and right of the axis for marks at its ends
_TEXT: Final = 7.2  # width of one character of a label, in units of the picture


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a number lies on the gauge, in units of its picture."""

    centre: float
    unit: float
    low: float
    high: float

    def at(self, value: float) -> float:
        """Horizontal place of a number; the end of the axis for what lies outside it."""
        share = (min(max(self.stretched(value), self.low), self.high) - self.low) / (self.high - self.low)
        return round(_EDGE + share * (WIDTH - 2 * _EDGE), 1)

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Both ends of an interval; an infinite end is the picture's edge, past the end of the axis."""
        return 0.0 if low == -math.inf else self.at(low), WIDTH if high == math.inf else self.at(high)

    def stretched(self, value: float) -> float:
        """``asinh((value - centre) / unit)``, finite for every finite value."""
        return _stretched(value, self.centre, self.unit)


@dataclass(frozen=True, slots=True)
class Label:
    """A number above or beneath the axis, centred at ``x``."""

    x: float
    text: str

    @property
    def left(self) -> float:
        """Where the text begins, about."""
        return self.x - len(self.text) * _TEXT / 2

    @property
    def right(self) -> float:
        """Where the text ends, about."""
        return self.x + len(self.text) * _TEXT / 2


@dataclass(frozen=True, slots=True)
class Gauge:
    """What the picture is made of, in units of its width.

    Attributes:
        verdict: decides the mark and its colour.
        zone: the allowed interval, or ``None`` where everything is allowed.
        slack: the zone widened by the resolution, or ``None``.
        value: place of the value, ``None`` where there is none.
        error: the interval ``value ± error``.
        label: of the value.
        bounds: labels of the finite bounds.
        words: the same in words.
    """

    verdict: Verdict
    zone: tuple[float, float] | None
    slack: tuple[float, float] | None
    value: float | None
    error: tuple[float, float] | None
    label: Label | None
    bounds: tuple[Label, ...]
    words: str
    width: float = WIDTH


def scale_of(evidence: Evidence, others: Sequence[tuple[float, float]] = ()) -> Scale:
    """The scale that shows the bounds, the value with its error, and further values with their errors."""
    slack = evidence.resolution or 0.0
    bounds = [bound for bound in (evidence.low, evidence.high) if math.isfinite(bound)]
    centre = bounds[0] / 2 + bounds[-1] / 2 if bounds else 0.0
    half = bounds[-1] / 2 - bounds[0] / 2 if bounds else 0.0
    ends = [end for value, error in [(evidence.value, evidence.error), *others] for end in (value - error, value, value + error)]
    ends = [end for end in ends if math.isfinite(end)]
    largest = max((abs(end - centre) for end in ends), default=0.0)
    unit = next(size for size in (half, slack, abs(centre), evidence.error, largest, 1.0) if 0 < size < math.inf)
    edges = [edge for edge in (evidence.low - slack, evidence.high + slack) if math.isfinite(edge)]
    places = [_stretched(place, centre, unit) for place in (*ends, *edges)]
    low, high = min(places, default=0.0), max(places, default=0.0)
    room = 0.12 * (high - low) or 1.0
    return Scale(centre, unit, low - room * (2.5 if math.isinf(evidence.low) else 1.0),
                 high + room * (2.5 if math.isinf(evidence.high) else 1.0))


def gauge(evidence: Evidence, scale: Scale | None = None) -> Gauge:
    """The gauge of a piece of evidence, on a scale of its own or a given one."""
    scale = scale or scale_of(evidence)
    value, error, slack = evidence.value, evidence.error, evidence.resolution or 0.0
    known = not math.isnan(value)
    spread = scale.span(value - error, value + error) if error < math.inf else (0.0, WIDTH)
    bounded = evidence.low > -math.inf or evidence.high < math.inf
    return Gauge(
        verdict=evidence.verdict,
        zone=scale.span(evidence.low, evidence.high) if bounded else None,
        slack=scale.span(evidence.low - slack, evidence.high + slack) if bounded and slack else None,
        value=_place(scale, value) if known else None,
        error=spread if known else None,
        label=_label(_place(scale, value), plain(value, 3)) if known else None,
        bounds=_bounds(scale, evidence),
        words=str(evidence),
    )


def _place(scale: Scale, value: float) -> float:
    return scale.at(value) if math.isfinite(value) else _EDGE / 2 if value < 0 else WIDTH - _EDGE / 2


def _bounds(scale: Scale, evidence: Evidence) -> tuple[Label, ...]:
    low, high = plain(evidence.low, 3), plain(evidence.high, 3)
    if evidence.low == evidence.high:
        return (_label(scale.at(evidence.low), low),) if math.isfinite(evidence.low) else ()
    labels = [_label(scale.at(bound), text) for bound, text in ((evidence.low, low), (evidence.high, high)) if math.isfinite(bound)]
    if len(labels) == 2 and labels[1].left < labels[0].right + _TEXT:
        return (_label((scale.at(evidence.low) + scale.at(evidence.high)) / 2, f"{low} to {high}"),)
    return tuple(labels)


def _label(x: float, text: str) -> Label:
    half = len(text) * _TEXT / 2
    return Label(round(min(max(x, half), WIDTH - half), 1), text)


def _stretched(value: float, centre: float, unit: float) -> float:
    ratio = (value - centre) / unit
    if math.isfinite(ratio):
        return math.asinh(ratio)
    distance = abs(value / 2 - centre / 2)  # halved, for the difference may overflow; there asinh(r) is log(2 r) to all digits
    return math.copysign(math.log(distance) - math.log(unit) + 2 * math.log(2), value - centre)
