"""The range and ticks of a chart's axis, for any numbers: huge, denormal, all equal, none finite."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradcheck_suite.reporting.numbers import plain, power

_HUGE = 1e290  # beyond it the arithmetic of a drawing library overflows, and below its inverse underflows
_MARGIN = 0.06
_BAND_REACH = 3.0  # a band stretches the axis by at most so many times the extent of the data


@dataclass(frozen=True, slots=True)
class Axis:
    """Drawn coordinates ``low`` to ``high``: the values themselves, or their decimal logarithms where ``log``."""

    low: float
    high: float
    log: bool = False

    def of(self, value: float) -> float:
        """A value's drawn coordinate; infinite where it lies off what can be drawn (zero on a logarithmic axis: -inf)."""
        if math.isnan(value):
            return math.nan
        if self.log:
            return -math.inf if value <= 0 else math.inf if math.isinf(value) else math.log10(value)
        if abs(value) < 1 / _HUGE:
            return 0.0
        return value if abs(value) < _HUGE else math.copysign(math.inf, value)

    def clipped(self, value: float) -> float:
        """The drawn coordinate, moved to the nearer end where it lies outside (NaN to the low end)."""
        place = self.of(value)
        return self.low if math.isnan(place) else min(max(place, self.low), self.high)

    def ticks(self) -> list[float]:
        """Round places inside the axis: powers of ten on a logarithmic axis that spans them, else multiples of 1, 2 or 5."""
        if not self.log:
            return _round_ticks(self.low, self.high)
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        if last > first:
            return [float(tick) for tick in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]
        if max(abs(self.low), abs(self.high)) > math.log10(_HUGE):
            return [float(first)] if first == last else []
        return [math.log10(tick) for tick in _round_ticks(10.0**self.low, 10.0**self.high) if tick > 0]

    def label(self, place: float) -> str:
        """The text of a tick."""
        if not self.log:
            return plain(place, 4)
        return plain(10.0**place, 4) if all(-3 <= tick <= 4 for tick in self.ticks()) else power(round(place))


def axis_of(values: Sequence[float], *, log: bool = False, spread: Sequence[float] = (), band: Sequence[float] = ()) -> Axis:
    """An axis that shows all drawable values, their error bars, and of a band as much as leaves the values readable."""
    free = Axis(-math.inf, math.inf, log)
    places = [place for place in map(free.of, [*values, *spread]) if math.isfinite(place)]
    core = [place for place in map(free.of, values) if math.isfinite(place)] or places or [0.0]
    low, high = min(core), max(core)
    reach = _BAND_REACH * max(high - low, 0.3 if log else 0.1 * max(abs(low), abs(high)) or 1.0)
    wanted = [*places, *(place for place in map(free.of, band) if math.isfinite(place))]
    low = min([low, *(max(place, low - reach) for place in wanted)])
    high = max([high, *(min(place, high + reach) for place in wanted)])
    room = _MARGIN * (high - low) or (0.5 if log else 0.05 * abs(high) or 0.5)
    return Axis(low - room, high + room, log)


def integers(values: Sequence[float]) -> bool:
    """Whether every finite value is a whole number."""
    return all(value == int(value) for value in values if math.isfinite(value) and abs(value) < _HUGE)


def _round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    width = high - low
    if not 0 < width < math.inf:
        return [low]
    raw = width / wanted
    unit = 10.0 ** math.floor(math.log10(raw)) if raw > 1e-300 else raw
    step = next((unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw), raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [index * step for index in range(first, last + 1)] or [low, high]
