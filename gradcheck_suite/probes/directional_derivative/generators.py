"""Generators of random numbers: their states, which of them a run moved, and putting them back."""

import operator
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch
from torch import nn

State = tuple[Any, ...]
_ORDINARY: Final = frozenset((dict, OrderedDict, list, set, bool, int, float, str, tuple, type(None)))


class Source:
    """One generator: reading its state, writing it, and comparing two states."""

    __slots__ = ("read", "same", "write")

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], Any], same: Callable[[Any, Any], bool] = operator.eq) -> None:
        self.read, self.write, self.same = read, write, same


def sources(modules: Iterable[nn.Module]) -> list[Source]:
    """The process-wide generators of torch (CPU and devices in use), Python and NumPy, and those that modules hold."""
    found = [
        Source(torch.get_rng_state, torch.set_rng_state, torch.equal),
        Source(random.getstate, random.setstate),
        Source(np.random.get_state, np.random.set_state, _same_legacy),
    ]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found.append(Source(torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all, _all_equal))
    held = {id(value): value for module in modules for value in vars(module).values() if type(value) not in _ORDINARY}
    for value in held.values():
        if isinstance(value, torch.Generator):
            found.append(Source(value.get_state, value.set_state, torch.equal))
        elif isinstance(value, random.Random):
            found.append(Source(value.getstate, value.setstate))
        elif isinstance(value, np.random.Generator):
            found.append(_numpy_generator(value))
    return found


def _numpy_generator(generator: np.random.Generator) -> Source:
    def write(state: Any) -> None:
        generator.bit_generator.state = state

    return Source(lambda: generator.bit_generator.state, write)


class Generators:
    """A set of generators that are read and written together."""

    __slots__ = ("sources",)

    def __init__(self, found: list[Source]) -> None:
        self.sources = found

    def read(self) -> State:
        """The states now."""
        return tuple(source.read() for source in self.sources)

    def write(self, states: State) -> None:
        """Put the states back."""
        for source, state in zip(self.sources, states, strict=True):
            source.write(state)

    def moved_since(self, states: State) -> "tuple[Generators, State]":
        """The generators whose state is no longer the given one, and the states given for those."""
        moved = [(source, state) for source, state in zip(self.sources, states, strict=True) if not source.same(source.read(), state)]
        return Generators([source for source, _ in moved]), tuple(state for _, state in moved)


def _same_legacy(first: Any, second: Any) -> bool:
    return first[2:] == second[2:] and bool(np.array_equal(first[1], second[1]))


def _all_equal(first: Any, second: Any) -> bool:
    return all(map(torch.equal, first, second))
