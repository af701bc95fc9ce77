"""What a search would have found: the smallest deviation that the evidence of each network could not have passed over."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.exhibits import Table

MOST = 6
"""Quantities told; the rest are counted."""


def reach(evidence: Evidence) -> float:
    """A deviation that this evidence could not have passed over, in its own unit.

    A true value that lies more than twice the error outside the bounds is measured outside them by more than the error. From the middle
    of the allowed interval that is half its width plus 2 errors; where the interval has one end, or ends at 0 because the quantity
    cannot be negative, it is counted from 0 or from the end itself.
    """
    least, most, width = evidence.low, evidence.high, evidence.high - evidence.low
    if math.isfinite(width):
        half = most if least == 0 else width / 2
    else:
        half = max(most if math.isfinite(most) else -least if math.isfinite(least) else math.inf, 0.0)
    return half + 2 * evidence.error


@dataclass(slots=True)
class Reaches:
    """Reaches by quantity and unit: one number per network, that of its least sharp place."""

    found: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, evidence: Iterable[Evidence]) -> None:
        """Take the evidence of one network."""
        worst: dict[tuple[str, str], float] = {}
        for piece in evidence:
            name = piece.quantity, piece.unit
            worst[name] = max(worst.get(name, 0.0), reach(piece))
        for name, value in worst.items():
            self.found.setdefault(name, []).append(value)

    def sentence(self) -> str:
        """The quantity that most networks had, in words; ``""`` where nothing was measured."""
        if not self.found:
            return ""
        (quantity, unit), values = max(self.found.items(), key=lambda item: len(item[1]))
        half, most = _median(values), max(values)
        scale = "" if unit == "1" else f" {unit}"
        if most == 0:
            return f"any deviation of the {quantity} would have been found"
        return (f"a deviation of the {quantity} by more than {half:.2g}{scale} would have been found in half of the networks, "
                f"by more than {most:.2g}{scale} in all of them")

    def table(self) -> Table:
        """One row per quantity."""
        rows = sorted(self.found.items(), key=lambda item: (-len(item[1]), item[0]))
        return Table(title="Smallest deviation that would have been found",
                     columns=("quantity", "unit", "networks", "in half of them", "in all of them"), rows=tuple(_rows(rows)))


def _rows(found: Sequence[tuple[tuple[str, str], list[float]]]) -> Iterator[tuple[str | float | int, ...]]:
    for (quantity, unit), values in found[:MOST]:
        yield quantity, unit, len(values), _median(values), max(values)
    if len(found) > MOST:
        rest = found[MOST:]
        yield f"{len(rest)} more quantities", "", sum(len(values) for _, values in rest), "", ""


def _median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
