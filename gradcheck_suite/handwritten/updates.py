"""One update step of the user's, beside parameter - learning rate * gradient."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcheck_suite.captures.handwritten_update import HandwrittenUpdate, Updated
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.handwritten.memory import Memory
from gradcheck_suite.handwritten.structure import Leaf, matched, nested
from gradcheck_suite.handwritten.units import Identity, Unit, identity_of, takes


def update_step(update: Callable[..., Any], parameters: Any, gradients: Any, learning_rate: float) -> HandwrittenUpdate:
    """Make one step on copies and compare.

    Raises:
        UsageError: an argument is not what is allowed.
        SubjectError: ``update`` raised.
    """
    if not callable(update) or not takes(update, 3):
        raise UsageError("update cannot be called with three arguments", allowed="update(parameters, gradients, learning_rate)",
                         instead="For an optimiser write lambda p, g, lr: SGD(lr).update(p, g).")
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, float | int) or not 0 < learning_rate < math.inf:
        raise UsageError(f"the learning rate is {learning_rate!r}", allowed="a positive number")
    held = nested(parameters, "parameters")
    slopes = [slope.astype(np.float64) for slope in matched(gradients, parameters, "parameters", "gradients")]
    memory, identity = Memory(update), identity_of(update)
    copies, passed = [leaf.array.copy() for leaf in held.leaves], [slope.copy() for slope in slopes]
    given = held.rebuild(copies)
    with Unit(Identity(function=identity.function), (), memory).guarded("update"):
        returned = update(given, held.rebuild(passed), learning_rate)
    memory.restore()
    new = matched(given if returned is None else returned, parameters, "parameters", "update")
    spoiled = tuple(leaf.path for leaf, slope, after in zip(held.leaves, slopes, passed, strict=True) if not np.array_equal(slope, after))
    return HandwrittenUpdate(
        function=identity.function, source=identity.source, changed_gradients=spoiled,
        parameters=tuple(_updated(leaf, slope, after.astype(np.float64), learning_rate)
                         for leaf, slope, after in zip(held.leaves, slopes, new, strict=True) if leaf.array.size))


def _updated(leaf: Leaf, slope: np.ndarray, after: np.ndarray, learning_rate: float) -> Updated:
    step = -learning_rate * slope
    distance = np.abs(after - (leaf.array + step))
    worst = int(np.argmax(np.where(np.isnan(distance), np.inf, distance)))
    rounding = float(np.max(np.finfo(np.float64).eps / 2 * 4 * (np.abs(step) + np.abs(leaf.array) + np.abs(leaf.array + step))))
    deviation = float(distance.ravel()[worst])
    return Updated(
        parameter=leaf.path, size=leaf.array.size, expected=float(np.abs(step).max()), rounding=rounding,
        deviation=math.inf if math.isnan(deviation) else deviation, entry=tuple(int(i) for i in np.unravel_index(worst, step.shape)),
        pattern=_pattern(after - leaf.array, step, learning_rate, rounding) if not deviation <= rounding else "")


def _pattern(made: np.ndarray, due: np.ndarray, learning_rate: float, rounding: float) -> str:
    """How the step made differs from the step due, in words."""
    if not np.isfinite(made).all():
        return f"is not finite in {int((~np.isfinite(made)).sum())} of {made.size} entries"
    if not made.any():
        return "is zero: the parameter was not updated"
    square = float((due**2).sum())
    ratio = float((made * due).sum()) / square if square > 0 else math.nan
    if not np.allclose(made, ratio * due, rtol=1e-6, atol=2 * rounding):
        return "is no multiple of the gradient"
    if abs(ratio + 1) < 1e-6:
        return "goes up the gradient: the sign is flipped"
    if abs(ratio * learning_rate - 1) < 1e-6:
        return "leaves out the learning rate"
    if abs(ratio / learning_rate - 1) < 1e-6:
        return "applies the learning rate twice"
    return f"is {ratio:.6g} times the one due"
