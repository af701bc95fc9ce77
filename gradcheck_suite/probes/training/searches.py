"""Searches for a low loss over outputs: down the gradient, by L-BFGS, and further along a direction."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch

Tensor = torch.Tensor
Objective = Callable[[list[torch.Tensor]], torch.Tensor]
# So large that a squared thousandfold of it is finite in float32.
_LARGEST = 1e14
_DESCENTS = 5
# Of the step at whose end the tangent has fallen by the loss's size; twice that is the minimum of a squared error.
_LENGTHS = (2.0, 0.5, 8.0, 0.125, 32.0, 1.0 / 32.0, 512.0, 1.0 / 512.0)
_FAILURES = (RuntimeError, ValueError, IndexError, ArithmeticError, TypeError)


def descends(objective: Objective, start: list[Tensor], size: float, wanted: float) -> bool:
    """Whether a few steps down the gradient lead below ``wanted``; False says nothing, where the gradient is zero or leads elsewhere.

    Lengths are tried around the one at whose end a linear loss would have fallen by ``size``, so that the loss's unit does not matter.
    It holds four copies of the outputs at most, beside what the objective holds.
    """
    free = [value.detach().requires_grad_() for value in start]
    for _ in range(_DESCENTS):
        try:
            value = objective(free)
            if float(value.detach()) < wanted:
                return True
            slopes = torch.autograd.grad(value, free, allow_unused=True, materialize_grads=True)
        except _FAILURES:
            return False
        square = sum(float(torch.linalg.vector_norm(slope, dtype=torch.float64)) ** 2 for slope in slopes)
        if not 0.0 < square < math.inf:
            return False
        best = float(value.detach())
        del value
        length = 0.0
        for factor in _LENGTHS:
            found = _value(objective, _along(free, slopes, factor * size / square))
            if found < wanted:
                return True
            best, length = (found, factor * size / square) if found < best else (best, length)
        if not length:
            return False
        free = [value.requires_grad_() for value in _along(free, slopes, length)]
    return False


def _along(free: list[Tensor], slopes: tuple[Tensor, ...], length: float) -> list[Tensor]:
    return [value.detach() - length * slope for value, slope in zip(free, slopes, strict=True)]


def _value(objective: Objective, free: list[Tensor]) -> float:
    with torch.no_grad():
        try:
            return float(objective(free))
        except _FAILURES:
            return math.nan


def minimum(objective: Objective, start: list[Tensor], steps: int) -> tuple[float, list[Tensor]]:
    """The least finite value that L-BFGS with a strong Wolfe line search finds, and where; infinity where the objective raises."""
    free = [value.detach().clone().requires_grad_() for value in start]
    best: tuple[float, list[Tensor]] = (math.inf, [value.detach() for value in start])

    def closure() -> Tensor:
        nonlocal best
        search.zero_grad()
        value = objective(free)
        number = float(value.detach())
        if math.isfinite(number) and number < best[0]:
            best = number, [value.detach().clone() for value in free]
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    search = torch.optim.LBFGS(free, lr=1.0, max_iter=steps, line_search_fn="strong_wolfe")
    try:
        search.step(closure)  # type: ignore[no-untyped-call]
    except _FAILURES:
        return best
    return best


def pushed(objective: Objective, found: float, free: list[Tensor]) -> tuple[float, list[Tensor]]:
    """Further along the same direction: a minimum at infinity (a sigmoid at 1) is approached by scaling."""
    for factor in (10.0, 100.0, 1000.0):
        with torch.no_grad():
            try:
                value = float(objective([factor * value for value in free]))
            except (RuntimeError, ValueError):
                return found, free
        if math.isfinite(value) and value < found:
            found = value
    return found, free


def falls_forever(objective: Objective, free: list[Tensor]) -> bool:
    """Whether the objective keeps falling as much with every factor of ten along the direction found, or more."""
    size = max((float(value.abs().max()) for value in free if value.numel()), default=0.0)
    if size > _LARGEST:
        free = [value * (_LARGEST / size) for value in free]
    values = []
    with torch.no_grad():
        for factor in (1e2, 1e3, 1e4, 1e5):
            try:
                values.append(float(objective([factor * value for value in free])))
            except (RuntimeError, ValueError):
                return True
    if any(math.isnan(value) or value == math.inf for value in values):
        return any(value == -math.inf for value in values)
    falls = [before - after for before, after in pairwise(values)]
    return -math.inf in values or (min(falls) > 0 and falls[-1] > 0.5 * falls[0])
