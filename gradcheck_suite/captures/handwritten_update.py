"""One update step, beside parameter minus learning rate times gradient."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """One parameter.

    Attributes:
        parameter: its name.
        size: number of entries.
        expected: largest size of learning rate times gradient, in units of the parameter.
        deviation: largest distance of the new parameter from parameter - learning rate * gradient, same unit.
        entry: where that is.
        rounding: bound on the rounding of that distance, same unit.
        pattern: how the step differs, to follow "the step ", or empty.
    """

    parameter: str
    size: int
    expected: float
    deviation: float
    entry: tuple[int, ...]
    rounding: float
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandwrittenUpdate:
    """What an update did to each parameter, and whether it changed the gradients (their names)."""

    function: str
    source: str | None
    parameters: tuple[Updated, ...]
    changed_gradients: tuple[str, ...]
