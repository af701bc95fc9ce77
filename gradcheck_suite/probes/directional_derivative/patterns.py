"""Patterns of a wrong gradient, in words: a factor, a sign, a transposition, lost rows, a reduction that is missing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch

_CLOSE: Final = 1e-4


@dataclass(slots=True)
class Samples:
    """Entries of one tensor's gradient by backprop and by differences.

    ``indices`` are flat positions (k), ``numeric`` their derivatives (k), ``error`` a bound on the error of each; ``analytic`` is
    the whole gradient, of the tensor's shape.
    """

    analytic: torch.Tensor
    indices: torch.Tensor
    numeric: torch.Tensor
    error: float

    @property
    def chosen(self) -> torch.Tensor:
        """The analytic gradient at the sampled entries (k)."""
        return self.analytic.reshape(-1)[self.indices]

    @property
    def wrong(self) -> torch.Tensor:
        """Which of the sampled entries differ (k)."""
        gap = (self.chosen - self.numeric).abs()
        size = float(self.numeric.abs().max()) if self.numeric.numel() else 0.0
        return ~(gap <= max(self.error, 1e-7 * size))


def pattern(samples: Samples, missing: bool, sizes: tuple[int, ...]) -> str:
    """The first description that fits, or ``""``; ``sizes`` are lengths of axes that a reduction may have lost."""
    wrong = samples.wrong
    if missing:
        return "no gradient arrives (None)"
    if not bool(torch.isfinite(samples.chosen).all()):
        return f"{int((~torch.isfinite(samples.chosen)).sum())} of {samples.chosen.numel()} entries looked at are not finite"
    if not bool(wrong.any()):
        return ""
    if not bool(samples.chosen[wrong].any()):
        where = _confined(samples) if not bool(wrong.all()) else ""
        return f"the gradient is zero{where}" if bool(samples.numeric[wrong].any()) else ""
    return next(iter(_descriptions(samples, sizes)), "")


def _descriptions(samples: Samples, sizes: tuple[int, ...]) -> Iterator[str]:
    factor = _factor(samples)
    if factor is not None:
        yield _factor_in_words(factor, sizes)
    yield from _moved(samples)
    where = _confined(samples)
    if where:
        local = _factor(samples, samples.wrong)
        yield f"wrong{where}" + (f", there {_factor_in_words(local, sizes)}" if local is not None else "")
    elif not bool(samples.numeric.any()):
        yield "a gradient arrives where the derivative is zero"
    shift = samples.chosen - samples.numeric
    if bool(samples.wrong.all()) and float(shift.std(correction=0)) <= _CLOSE * abs(float(shift.mean())):
        yield f"too large by the same {float(shift.mean()):.4g} everywhere"


def _factor(samples: Samples, among: torch.Tensor | None = None) -> float | None:
    """The constant ratio of analytic to numeric entries, where there is one that is not 1."""
    chosen, numeric = samples.chosen, samples.numeric
    if among is not None:
        chosen, numeric = chosen[among], numeric[among]
    power = float((numeric * numeric).sum())
    if power == 0.0 or not math.isfinite(power):
        return None
    factor = float((chosen * numeric).sum()) / power
    rest = float(torch.linalg.vector_norm(chosen - factor * numeric))
    tolerance = _CLOSE * min(1.0, abs(factor - 1)) * math.sqrt(power) + samples.error * math.sqrt(max(1, numeric.numel()))
    return factor if rest <= tolerance and abs(factor - 1) > 1e-7 else None


def _factor_in_words(factor: float, sizes: tuple[int, ...]) -> str:
    if abs(factor + 1) < _CLOSE:
        return "the sign is wrong"
    for size in sizes:
        if size > 1 and abs(factor * size - 1) < _CLOSE:
            return f"{factor:.6g} times the derivative: averaged over {size} instead of summed"
        if size > 1 and abs(factor / size - 1) < _CLOSE:
            return f"{factor:.6g} times the derivative: summed over {size} instead of averaged"
    return f"{factor:.9g} times the derivative"


def _moved(samples: Samples) -> Iterator[str]:
    """The right values at other places: transposed, reversed or shifted along an axis."""
    grid = samples.analytic
    if grid.dim() >= 2 and grid.shape[-1] == grid.shape[-2] and _matches(samples, grid.transpose(-1, -2)):
        yield "transposed"
    for axis in range(grid.dim()):
        if grid.shape[axis] < 2:
            continue
        if _matches(samples, grid.flip(axis)):
            yield f"reversed along axis {axis}"
        for shift in (1, -1):
            if grid.shape[axis] > 2 and _matches(samples, grid.roll(shift, axis)):
                yield f"shifted by one along axis {axis}"


def _matches(samples: Samples, grid: torch.Tensor) -> bool:
    moved = grid.reshape(-1)[samples.indices]
    size = float(torch.linalg.vector_norm(samples.numeric))
    gap = float(torch.linalg.vector_norm(moved - samples.numeric))
    return gap <= 1e-5 * size + samples.error * math.sqrt(max(1, moved.numel()))


def _confined(samples: Samples) -> str:
    """Where the wrong entries are, if they lie in one slice along some axis, or are one entry."""
    wrong = samples.wrong
    shape = samples.analytic.shape
    if not len(shape) or bool(wrong.all()):
        return ""
    index = torch.stack([*torch.unravel_index(samples.indices, shape)], 1)
    bad = index[wrong]
    if len(bad) == 1:
        return f" in one entry, {bad[0].tolist()}" if len(index) == samples.analytic.numel() else ""
    for axis in range(len(shape)):
        places = torch.unique(bad[:, axis])
        right_elsewhere = bool((index[~wrong][:, axis] != places[0]).any()) if len(places) == 1 else False
        if len(places) == 1 and right_elsewhere and shape[axis] > 1:
            return f" in one slice, index {int(places[0])} along axis {axis}"
        if 1 < len(places) <= shape[axis] // 2 and _whole_slices(index, wrong, places, axis):
            return f" in slices {places.tolist()[:8]} along axis {axis}"
    return ""


def _whole_slices(index: torch.Tensor, wrong: torch.Tensor, places: torch.Tensor, axis: int) -> bool:
    inside = torch.isin(index[:, axis], places)
    return bool((wrong == inside).all())
