"""Small draws, their strategies kept: making a strategy costs more than drawing from it."""

import functools
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


@functools.lru_cache(maxsize=4096)
def between(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of a range; shrinks to the lowest."""
    return st.integers(low, high)


@functools.lru_cache(maxsize=4096)
def one_of(*values: Any) -> st.SearchStrategy[Any]:
    """One of several values; shrinks to the first."""
    return st.sampled_from(values)


def seldom(draw: Draw) -> bool:
    """True once in four; shrinks to False."""
    return bool(draw(between(0, 3)) == 3)


def divisors(number: int, most: int = 4) -> tuple[int, ...]:
    """The divisors of a number up to ``most``."""
    return tuple(n for n in range(1, most + 1) if number % n == 0)
