"""What is compared: something with a forward and a backward, its arguments as named arrays."""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck_suite.core.errors import GradcheckError, SubjectError, UsageError
from gradcheck_suite.core.failures import details_of, kind_of, location_of, message_of
from gradcheck_suite.handwritten.memory import Memory

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An array that is differentiated with respect to.

    ``kind`` is ``argument`` or ``parameter``; ``module`` the layer that holds it, ``None`` where there are no layers.
    """

    name: str
    array: np.ndarray
    kind: str = "argument"
    module: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who computes the gradient: the layer's name in its network, the function or class, and where that is written."""

    module: str | None = None
    function: str = ""
    source: str | None = None


class Unit:
    """A function with its gradient by hand.

    Subclasses define ``call(arrays)``, which returns the outputs, and ``pull_back(cotangents)``, which is asked after ``call`` at
    the same arrays and returns one gradient per argument; both get copies that they may spoil.

    Attributes:
        identity: for messages and places.
        arguments: in order.
        scalar: whether the output is one number, differentiated without a cotangent.
        altered: entries that a call changed in what it was given, by (stage, argument, kind), with the size.
        unchecked: names of arrays that nothing was compared with, for a note.
        single: whether some array is held in less than double precision.
    """

    def __init__(self, identity: Identity, arguments: Sequence[Argument], memory: Memory) -> None:
        self.identity, self.arguments, self._memory = identity, tuple(arguments), memory
        self.scalar = False
        self.altered: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.unchecked: tuple[str, ...] = ()
        self.single = False

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """The outputs at these arrays."""
        raise TypeError(f"{type(self).__name__} does not define call")

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """The gradients by hand of <cotangents, outputs>, one per argument, after ``call``."""
        raise TypeError(f"{type(self).__name__} does not define pull_back")

    def forward(self, arrays: Arrays, *, restored: bool = True) -> list[np.ndarray]:
        """The outputs, as new float64 or narrower arrays; the objects involved are first put back as they were.

        Raises:
            SubjectError: the user's code raised.
        """
        if restored:
            self._memory.restore()
        with self.guarded("forward"):
            return [np.array(output) for output in self.call(arrays)]

    def backward(self, arrays: Arrays, cotangents: Arrays, *, restored: bool = True) -> list[np.ndarray]:
        """The gradients by hand, after a forward at the same arrays with the same random numbers.

        Raises:
            SubjectError: the user's code raised.
        """
        self.forward(arrays, restored=restored)
        if restored:
            self._memory.rewind()
        with self.guarded("backward"):
            return [np.array(gradient) for gradient in self.pull_back(cotangents)]

    def close(self) -> None:
        """Put everything back as it was."""
        self._memory.restore()

    def note_change(self, key: tuple[str, str, str], before: np.ndarray, after: np.ndarray) -> None:
        """Remember it where an array that was given to a call differs afterwards, bit for bit; ``key`` as in ``altered``."""
        count = int((~((before == after) | (np.isnan(before) & np.isnan(after)))).sum()) if before.shape == after.shape else before.size
        if count:
            self.altered[key] = (max(count, self.altered.get(key, (0, 0))[0]), before.size)

    @contextmanager
    def guarded(self, stage: str) -> Iterator[None]:
        try:
            yield
        except (GradcheckError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # the user's code may raise anything, SystemExit included
            place = location_of(error)
            who = f"the {stage} pass" if not self.identity.module else f"the {stage} pass of {self.identity.module}"
            raise SubjectError(f"{who} raised {message_of(error)}" + (f" at {place}" if place else ""), stage=stage,
                               module=self.identity.module, details=details_of(error)) from error


def output_array(value: Any, who: str) -> np.ndarray:
    """An output as an array of floats.

    Raises:
        UsageError: it is not a number or a real array.
    """
    if value is None:
        raise UsageError(f"{who} returned None", allowed="a number or a numpy array", instead="Does it lack a return statement?")
    if not isinstance(value, float | int | np.ndarray | np.generic) or np.asarray(value).dtype.kind not in "fiu":
        kind = str(value.dtype) if isinstance(value, np.ndarray | np.generic) else kind_of(value)
        raise UsageError(f"{who} returned {kind}", allowed="a number or a numpy array of floats")
    array = np.asarray(value)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def required(function: Callable[..., Any]) -> int | None:
    """Number of positional arguments a call must give; ``None`` where the function does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether the function can be called with that many positional arguments (``True`` where it does not say)."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def identity_of(function: Any, module: str | None = None) -> Identity:
    """Name and place of a function, or of an object's class."""
    bare = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(bare, "__code__", None)
    name = str(getattr(bare, "__qualname__", "") or kind_of(function)).replace("<locals>.", "")
    source = f"{_short(code.co_filename)}:{code.co_firstlineno}" if code is not None else None
    return Identity(module=module, function=name, source=source)


def _short(file: str) -> str:
    """A path below the working directory relative to it, any other as it is."""
    here = os.path.join(os.getcwd(), "")
    return file.removeprefix(here) if file.startswith(here) else file
