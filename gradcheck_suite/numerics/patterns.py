"""How an array differs from the gradient that it should be: a factor, a sign, transposed, one row, found by few derivatives.

A hypothesis such as "transposed" turns into one equation between a product of the array and a derivative along another
direction, so that every hypothesis costs a few derivatives, whatever the size of the array. One random direction finds the
number in a hypothesis, a second one verifies it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradcheck_suite.numerics.mismatch import Suspect, fsum

SHARPNESS: Final = 0.05
"""A comparison says something where its error is below this share of the deviation that is to be explained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How the array differs.

    Attributes:
        kind: ``none``, ``nonfinite``, ``zero``, ``spurious``, ``factor``, ``entry``, ``slice``, ``transposed``, ``reversed``, ``averaged``,
            ``offset``, ``decay`` or ``irregular``.
        text: the same in words, with the numbers, to follow "the gradient ".
        factor: ratio of the array to the derivative (``factor``, and within the slice of ``slice`` where it is constant
            there), the added constant (``offset``), or the multiple of the point that is added (``decay``); else NaN.
    """

    kind: str
    text: str
    factor: float = math.nan


def pattern(suspect: Suspect, *, point: np.ndarray | None = None, worst: tuple[int, ...] | None = None) -> Pattern:
    """How the array differs from the gradient, the simplest explanation first.

    Args:
        suspect: the array and the derivative.
        point: where the gradient was taken, of the array's shape; tells an added multiple of the parameter itself.
        worst: index of a deviating entry; tells whether only that entry, or one slice through it, deviates.
    """
    array = suspect.analytic
    if not np.isfinite(array).all():
        return Pattern(kind="nonfinite", text=f"is not finite in {int((~np.isfinite(array)).sum())} of {array.size} entries")
    directions = suspect.directions()
    pair = _Pair(suspect, next(directions), next(directions))
    if not pair.telling:
        return Pattern(kind="none", text="differs too little for its pattern to be told")
    if not array.any():
        return Pattern(kind="zero", text="is zero everywhere, the derivative is not")
    explanations: tuple[Callable[[], Pattern | None], ...] = (
        lambda: _factor(pair), lambda: _entry(pair, worst), lambda: _slice(pair, worst), lambda: _transposed(pair),
        lambda: _reversed(pair), lambda: _averaged(pair), lambda: _offset(pair), lambda: _decay(pair, point))
    for explanation in explanations:
        found = explanation()
        if found is not None:
            return found
    return Pattern(kind="irregular", text="differs from the derivative without a simple pattern")


class _Pair:
    """A suspect with two random directions: one to find a number, one to verify it."""

    def __init__(self, suspect: Suspect, first: np.ndarray, second: np.ndarray) -> None:
        self.suspect, self.first, self.second = suspect, first, second
        self.products = [suspect.product(first), suspect.product(second)]
        self.derivatives = [suspect.along(first), suspect.along(second)]
        gaps = [abs(product - value) for product, (value, _) in zip(self.products, self.derivatives, strict=True)]
        self.deviation = max(gaps)
        self.telling = all(error < SHARPNESS * self.deviation for _, error in self.derivatives)

    def explained(self, direction: np.ndarray) -> bool:
        """Whether array and derivative agree along a direction, sharply enough to mean something."""
        gap, error = self.suspect.gap(direction)
        return abs(gap) <= error < SHARPNESS * self.deviation

    def factor(self, adjoint: Callable[[np.ndarray], np.ndarray] | None = None) -> float | None:
        """The number c for which the array is c times a linear image of the gradient; ``None`` where there is none.

        ``adjoint`` is the transpose of that linear map, <T(N), V> = <N, adjoint(V)>; without one it is the identity.
        """
        derivatives = self.derivatives
        if adjoint is not None:
            derivatives = [self.suspect.along(adjoint(direction)) for direction in (self.first, self.second)]
        trials = [(abs(value), value, error, product) for (value, error), product in zip(derivatives, self.products, strict=True)]
        (_, small, small_error, small_product), (_, value, error, product) = sorted(trials, key=lambda trial: trial[0])
        if not error < SHARPNESS * abs(value):
            return None
        ratio = product / value
        tolerance = abs(ratio) * (small_error + abs(small) * error / abs(value))
        fits = abs(small_product - ratio * small) <= tolerance < SHARPNESS * max(self.deviation, abs(product))
        return ratio if fits else None

    def multiple(self, shape_of_gap: np.ndarray) -> float | None:
        """The number c for which array minus gradient is c times a given array; ``None`` where there is none."""
        aligned = np.abs(self.first) * np.where(shape_of_gap < 0, -1.0, 1.0)
        total = fsum(aligned * shape_of_gap)
        gap, error = self.suspect.gap(aligned)
        if not total > 0 or not error < SHARPNESS * abs(gap):
            return None
        ratio = gap / total
        verified, verified_error = self.products[1] - self.derivatives[1][0], self.derivatives[1][1]
        expected = fsum(self.second * shape_of_gap)
        tolerance = verified_error + abs(expected) * error / total
        return ratio if abs(verified - ratio * expected) <= tolerance < SHARPNESS * self.deviation else None


def _factor(pair: _Pair) -> Pattern | None:
    if all(abs(value) <= error < SHARPNESS * pair.deviation for value, error in pair.derivatives):
        return Pattern(kind="spurious", text="is not zero, the derivative is")
    ratio = pair.factor()
    return None if ratio is None else Pattern(kind="factor", text=f"is {times(ratio)}", factor=ratio)


def times(ratio: float) -> str:
    """A constant factor in words, with the mistake that such a factor usually means."""
    whole, inverse = round(ratio), round(1 / ratio) if ratio else 0
    if abs(ratio + 1) < 1e-6:
        return "minus the derivative: the sign is flipped"
    if whole == 2 and abs(ratio - 2) < 1e-6:
        return "twice the derivative: a factor 1/2 is missing, or the same term is added twice"
    if inverse == 2 and abs(ratio - 0.5) < 1e-6:
        return "half the derivative: a factor 2 is missing"
    if whole > 2 and abs(ratio - whole) < 1e-6 * whole:
        return f"{whole} times the derivative: a division by {whole} is missing, such as a mean over {whole} samples"
    if inverse > 2 and abs(1 / ratio - inverse) < 1e-6 * inverse:
        return f"1/{inverse} of the derivative: it is divided by {inverse} once too often, such as a mean where the function sums"
    return f"{ratio:.9g} times the derivative"


def _entry(pair: _Pair, worst: tuple[int, ...] | None) -> Pattern | None:
    if not worst or pair.suspect.analytic.size == 1:
        return None
    rest = pair.first.copy()
    rest[worst] = 0.0
    return Pattern(kind="entry", text="differs in this entry only") if pair.explained(rest) else None


def _slice(pair: _Pair, worst: tuple[int, ...] | None) -> Pattern | None:
    shape = pair.suspect.analytic.shape
    for axis in range(len(shape)) if worst and len(shape) > 1 else ():
        if shape[axis] < 2:
            continue
        place: tuple[slice | int, ...] = (*[slice(None)] * axis, worst[axis]) if worst else ()
        rest = pair.first.copy()
        rest[place] = 0.0
        if not pair.explained(rest):
            continue
        name = ("row", "column")[axis] if len(shape) == 2 else f"index of axis {axis},"
        where = f"differs in {name} {place[-1]} only"
        if not pair.suspect.analytic[place].any():
            return Pattern(kind="slice", text=f"{where}, where it is zero", factor=0.0)
        inside = [direction - _outside(direction, place) for direction in (pair.first, pair.second)]
        ratio = _Pair(pair.suspect, inside[0], inside[1]).factor()
        detail = "" if ratio is None else f"; there it is {times(ratio)}"
        return Pattern(kind="slice", text=where + detail, factor=math.nan if ratio is None else ratio)
    return None


def _outside(direction: np.ndarray, place: tuple[slice | int, ...]) -> np.ndarray:
    rest = direction.copy()
    rest[place] = 0.0
    return rest


def _transposed(pair: _Pair) -> Pattern | None:
    shape = pair.suspect.analytic.shape
    for one in range(len(shape)):
        for other in range(one + 1, len(shape)):
            if shape[one] != shape[other] or shape[one] == 1:
                continue
            ratio = pair.factor(lambda direction, one=one, other=other: np.swapaxes(direction, one, other))  # type: ignore[misc]
            if ratio is not None:
                axes = "" if len(shape) == 2 else f" in the axes {one} and {other}"
                return Pattern(kind="transposed", text=f"is the derivative transposed{axes}{_by(ratio)}", factor=ratio)
    return None


def _reversed(pair: _Pair) -> Pattern | None:
    axes = [axis for axis, size in enumerate(pair.suspect.analytic.shape) if size > 1]
    for chosen in dict.fromkeys([*((axis,) for axis in axes), tuple(axes[-2:]), tuple(axes)]):
        ratio = pair.factor(lambda direction, chosen=chosen: np.flip(direction, chosen)) if chosen else None  # type: ignore[misc]
        if ratio is not None:
            names = " and ".join(map(str, chosen))
            return Pattern(kind="reversed", text=f"is the derivative reversed along axis {names}{_by(ratio)}", factor=ratio)
    return None


def _averaged(pair: _Pair) -> Pattern | None:
    for axis, size in enumerate(pair.suspect.analytic.shape):
        if size < 2 or np.ptp(pair.suspect.analytic, axis=axis).any():
            continue
        ratio = pair.factor(lambda direction, axis=axis: _spread(direction, axis))  # type: ignore[misc]
        if ratio is not None:
            text = f"is the same along axis {axis}: {ratio:.6g} times the derivative's sum over it"
            return Pattern(kind="averaged", text=text, factor=ratio)
    return None


def _spread(direction: np.ndarray, axis: int) -> np.ndarray:
    return np.broadcast_to(direction.sum(axis=axis, keepdims=True), direction.shape)


def _offset(pair: _Pair) -> Pattern | None:
    added = pair.multiple(np.ones(pair.suspect.analytic.shape))
    return None if added is None else Pattern(kind="offset", text=f"is the derivative plus {added:.6g} in every entry", factor=added)


def _decay(pair: _Pair, point: np.ndarray | None) -> Pattern | None:
    added = pair.multiple(point) if point is not None and point.any() else None
    if added is None:
        return None
    text = f"is the derivative plus {added:.6g} times the parameter itself: a penalty on it is differentiated wrongly or left out"
    return Pattern(kind="decay", text=text, factor=added)


def _by(ratio: float) -> str:
    return "" if abs(ratio - 1) < 1e-6 else f", times {ratio:.6g}"
