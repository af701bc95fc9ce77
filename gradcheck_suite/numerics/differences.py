"""Derivatives of a function of one variable by central differences, each with a measured error.

A Ridders-Neville tableau (Ridders 1982) extrapolates central differences over a ladder of steps; every entry carries an
estimate of its truncation and of the rounding that it inherits, and the entry with the least total is taken. The noise
of a single evaluation is measured by differences of high order (Moré and Wild 2011, "Estimating computational noise").
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DOUBLE: Final = 2.0**-53
SINGLE: Final = 2.0**-24

Function = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivative:
    """What the ladder of steps says of a function at 0.

    Attributes:
        value: the derivative; NaN where no step gave finite values on both sides.
        error: estimate of the error of ``value`` (truncation and rounding), infinite where there is none.
        jump: extrapolated difference of the two one-sided derivatives, zero for a function that is smooth at 0.
        jump_error: estimate of the error of ``jump``.
        noise: bound on the error of one evaluation.
        secant: largest central slope met on the ladder: how much the function varies at all.
        evaluations: number of evaluations spent.
    """

    value: float
    error: float
    jump: float
    jump_error: float
    noise: float
    secant: float
    evaluations: int

    @property
    def kinked(self) -> bool:
        """Whether the one-sided derivatives differ by more than the error of that difference and a thousandth."""
        return abs(self.jump) > 4 * self.jump_error and abs(self.jump) > 1e-3 * abs(self.value)


def measured_noise(function: Function, at_zero: float, spacing: float, lowest: int = 3) -> float:
    """Standard deviation of the evaluation noise, from 8 equally spaced points.

    Differences of order ``lowest`` to 6 leave only the noise of a function that is smooth at this spacing; their mean square is
    scaled by ``(k!)^2 / (2k)!`` (Hamming's table; Moré and Wild 2011, section 3). Infinite if a value is not finite.
    """
    values = [at_zero, *(function(index * spacing) for index in range(1, 8))]
    if not all(map(math.isfinite, values)):
        return math.inf
    greatest, row = 0.0, values
    for order in range(1, 7):
        row = [after - before for before, after in itertools.pairwise(row)]
        if order >= lowest:
            scale = math.factorial(order) ** 2 / math.factorial(2 * order)
            greatest = max(greatest, scale * sum(item * item for item in row) / len(row))
    return math.sqrt(greatest)


class _Tableau:
    """Neville's extrapolation to step 0 of a quantity whose error has the given powers of the step."""

    def __init__(self, ratio: float, powers: tuple[int, ...], settled: int) -> None:
        self.ratio, self.powers, self.settled = ratio, powers, settled
        self.rows: list[list[tuple[float, float]]] = []
        self.value, self.error = math.nan, math.inf

    def add(self, first: float, rounding: float) -> None:
        """One more step: the raw difference and the rounding it carries; later entries of the row are extrapolated."""
        row = [(first, rounding)]
        if self.rows:
            last = self.rows[-1]
            for column in range(1, min(len(last), len(self.powers)) + 1):
                weight = self.ratio ** self.powers[column - 1]
                coarse, fine = last[column - 1], row[column - 1]
                value = (weight * fine[0] - coarse[0]) / (weight - 1)
                noise = (weight * fine[1] + coarse[1]) / (weight - 1)
                row.append((value, noise))
                total = max(abs(value - fine[0]), abs(value - coarse[0])) + noise
                if len(self.rows) >= self.settled and total < self.error:
                    self.value, self.error = value, total
        self.rows.append(row)

    def restart(self) -> None:
        """Forget the rows so far (a value was not finite); the best entry, if any, goes with them."""
        self.rows, self.value, self.error = [], math.nan, math.inf


def derivative(
    function: Function, *, first_step: float = 0.125, levels: int = 9, magnitude: float = 0.0, roundoff: float = DOUBLE,
    enough: float = 0.0,
) -> Derivative:
    """The derivative of ``function`` at 0 with an estimate of its error.

    Args:
        function: evaluated at 0 and on both sides of it; may return NaN outside its domain.
        first_step: the largest step; each further level divides it by 4.
        levels: number of steps, two evaluations each.
        magnitude: size of the quantities whose rounding the values carry, where it exceeds the values themselves.
        roundoff: unit roundoff of the arithmetic inside ``function``.
        enough: stop as soon as the estimated error is no larger.
    """
    at_zero = function(0.0)
    spacing = min(1.0, 8 * first_step) * roundoff**0.7
    noise = 6 * measured_noise(function, at_zero, spacing) + 2 * roundoff * max(abs(at_zero), magnitude)
    slopes = _Tableau(4.0, tuple(range(2, 2 * levels + 2, 2)), settled=1)
    jumps = _Tableau(4.0, (1, 3, 5, 7), settled=2)
    used, step, secant = 8, first_step, 0.0
    for _ in range(levels):
        above, below = function(step), function(-step)
        used += 2
        rounding = noise / step
        slope = (above - below) / (2 * step)
        if math.isfinite(slope) and math.isfinite(rounding):
            slopes.add(slope, rounding)
            secant = max(secant, abs(slope))
            jumps.add(((above - at_zero) - (at_zero - below)) / step, 4 * rounding)
        else:
            slopes.restart()
            jumps.restart()
        if len(slopes.rows) >= 3 and slopes.error <= enough:
            break
        step /= 4.0
    return Derivative(value=slopes.value, error=slopes.error, jump=jumps.value if math.isfinite(jumps.value) else 0.0,
                      jump_error=jumps.error, noise=noise, secant=secant, evaluations=used)
