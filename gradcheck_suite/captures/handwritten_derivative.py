"""Gradients written by hand beside derivatives by differences, place by place."""

import math
from dataclasses import dataclass
from typing import Final, Literal

CONFIDENCE: Final = 4.0
"""Bound on the error of a derivative, in units of its own estimate: measured ratios reach 0.64 on smooth and kinked networks."""

Outcome = Literal["agrees", "disagrees", "kinked", "open"]
Status = Literal["agrees", "agrees-nearby", "disagrees", "disagrees-nearby", "exceptional", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One derivative along one direction at one point, by hand and by differences.

    All quantities but ``radius`` have the unit of the function (the direction has the size of the argument).

    Attributes:
        radius: distance of the point from x, as a share of the size of x; 0 at x itself.
        analytic: product of the gradient by hand and the direction; NaN where the gradient is not finite.
        analytic_error: bound on the rounding of that product.
        numeric: the derivative by differences; NaN where it could not be measured.
        numeric_error: estimate of its error.
        jump: difference of the two one-sided derivatives, 0 for a function that is smooth at the point.
        jump_error: estimate of the error of ``jump``.
        scale: size of a derivative along such a direction (root sum of squares of the terms of ``analytic``, or ``numeric`` where that
            is larger); where no derivative is visible, a hundred millionth of the function's value.
        noise: bound on the error of one evaluation of the function.
        evaluations: of the function.
    """

    radius: float
    analytic: float
    analytic_error: float
    numeric: float
    numeric_error: float
    jump: float
    jump_error: float
    scale: float
    noise: float
    evaluations: int

    @property
    def bound(self) -> float:
        """Bound on the error of ``gap``; infinite where the derivative could not be measured."""
        bound = CONFIDENCE * self.numeric_error + self.analytic_error
        return bound if math.isfinite(self.numeric) and not math.isnan(bound) else math.inf

    @property
    def gap(self) -> float:
        """Distance between the two; infinite where the gradient is not finite and the derivative is; else NaN if unknown."""
        if math.isfinite(self.numeric) and not math.isfinite(self.analytic):
            return math.inf
        return abs(self.analytic - self.numeric)

    @property
    def deviation(self) -> float:
        """``gap`` as a share of ``scale``."""
        return _share(self.gap, self.scale)

    @property
    def error(self) -> float:
        """``bound`` as a share of ``scale``."""
        return _share(self.bound, self.scale)

    def outcome(self, resolution: float) -> Outcome:
        """What this comparison says by itself.

        A kink explains a gap where the one-sided derivatives differ by more than the error of that difference and by a
        hundredth of the gap or more: less cannot be its cause, unless kinks of many entries cancel along this direction.
        """
        kinked = abs(self.jump) > CONFIDENCE * self.jump_error and abs(self.jump) > 0.01 * self.gap
        if self.gap > self.bound:
            return "kinked" if kinked else "disagrees"
        return "agrees" if self.error <= resolution else "open"


def resolution(roundoff: float) -> float:
    """The deviation that a comparison must be able to see: 1e-4 in double precision, 0.05 in less."""
    return 1e-4 if roundoff <= 2.0**-53 else 0.05


def _share(part: float, whole: float) -> float:
    if part == 0.0:
        return 0.0
    return part / whole if whole > 0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryComparison:
    """One entry of a gradient: by hand, by differences, and a bound on the latter's error; unit of the function per argument."""

    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One argument or parameter (or all of a part's together), compared along random directions.

    Attributes:
        module: name of the layer it belongs to, ``None`` where there are no layers.
        parameter: its name; empty for all together.
        shape: of the array; empty for all together.
        at: comparisons at x, one per direction.
        nearby: comparisons at points beside x, made where those at x do not agree.
        entries: single entries, the worst first, where the place disagrees.
        pattern: how the gradient differs there, to follow "the gradient ", or empty.
    """

    module: str | None
    parameter: str
    shape: tuple[int, ...]
    at: tuple[Comparison, ...]
    nearby: tuple[Comparison, ...] = ()
    entries: tuple[EntryComparison, ...] = ()
    pattern: str = ""

    def worst(self, resolution: float) -> Comparison:
        """The comparison at x that speaks for the place: one that disagrees, else kinked, else open, else the least precise."""
        order = ("disagrees", "kinked", "open", "agrees")
        return min(self.at, key=lambda comparison: (order.index(comparison.outcome(resolution)), -comparison.error))

    def settled(self, resolution: float) -> tuple[Status, Comparison]:
        """What all comparisons say together, and the one to show.

        A disagreement at x stands if it repeats at two points nearby, and is confined to x (``exceptional``) if it is larger than
        the resolution, two points nearby agree and no direction at x shows a kink: x then lies where the function has one formula
        and its surroundings another. (Along one direction the kinks of several entries may cancel.)
        """
        worst = self.worst(resolution)
        outcome = worst.outcome(resolution)
        if outcome == "agrees":
            return "agrees", worst
        against = [comparison for comparison in self.nearby if comparison.outcome(resolution) == "disagrees"]
        for_it = [comparison for comparison in self.nearby if comparison.outcome(resolution) == "agrees"]
        if len(against) >= 2:
            return ("disagrees", worst) if outcome == "disagrees" else ("disagrees-nearby", max(against, key=_clearness))
        if len(for_it) >= 2:
            kinked = any(comparison.outcome(resolution) == "kinked" for comparison in self.at)
            confined = outcome == "disagrees" and worst.deviation > resolution and not kinked
            return ("exceptional", worst) if confined else ("agrees-nearby", max(for_it, key=lambda c: c.error))
        return "open", worst


def _clearness(comparison: Comparison) -> float:
    return comparison.gap / comparison.bound if comparison.bound > 0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """An argument that a call changed: ``entries`` of its ``size`` entries differ afterwards.

    ``stage`` is ``forward`` or ``backward``; ``argument`` its name; ``kind`` is ``argument``, ``parameter`` or ``cotangent``.
    """

    stage: str
    argument: str
    kind: str
    entries: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The same call made again.

    Attributes:
        stage: ``forward`` or ``backward``.
        plain: largest difference between two calls in a row, as a share of the largest value.
        replayed: the same with random generators and state of the objects put back before the second call.
        entries: number of values in the largest array involved.
    """

    stage: str
    plain: float
    replayed: float
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One function, layer, loss or network and its gradient by hand.

    Attributes:
        module: its name in the network, ``None`` where there is only one.
        function: name of the function or class that computes the gradient.
        source: where that is written, as ``file:line``, or ``None``.
        roundoff: unit roundoff of its arithmetic.
        finite: whether the function's value at x is finite.
        joint: all arguments and parameters together.
        places: each by itself; none at a budget that looks at them only where ``joint`` does not agree, and it does.
        alterations: what calls changed that they should not.
        repetitions: calls made twice.
    """

    module: str | None
    function: str
    source: str | None
    roundoff: float
    finite: bool
    joint: Place
    places: tuple[Place, ...]
    alterations: tuple[Alteration, ...] = ()
    repetitions: tuple[Repetition, ...] = ()

    @property
    def resolution(self) -> float:
        """The deviation that a comparison of this part must be able to see."""
        return resolution(self.roundoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandwrittenDerivative:
    """The parts of a hand-written gradient, each by itself."""

    parts: tuple[Part, ...]
