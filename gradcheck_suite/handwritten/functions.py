"""Units made of plain functions: ``f`` with ``grad_f``, and (forward, backward) pairs with a cache."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import kind_of
from gradcheck_suite.handwritten.memory import Memory
from gradcheck_suite.handwritten.structure import gradient_array, matched, nested, real
from gradcheck_suite.handwritten.units import Argument, Arrays, Unit, identity_of, output_array, required, takes


class FunctionUnit(Unit):
    """``f(x)`` and ``grad_f(x)``, or ``grad_f(x, cotangent)`` where ``f`` gives more than one number."""

    def __init__(self, f: Callable[..., Any], grad_f: Callable[..., Any], x: Any) -> None:
        for function, name in ((f, "f"), (grad_f, "grad_f")):
            if not callable(function):
                raise UsageError(f"{name} is of type {kind_of(function)}", allowed="a function")
        self._f, self._grad_f, self._x, self._nested = f, grad_f, x, nested(x)
        super().__init__(identity_of(grad_f), [Argument(name=leaf.path, array=leaf.array) for leaf in self._nested.leaves],
                         Memory(f, grad_f))
        if not takes(f, 1):
            raise UsageError("f cannot be called with one argument", allowed="f(x)",
                             instead="Where x is a tuple of arguments, write lambda x: f(*x); the same for grad_f.")
        self._given: Arrays = ()
        output = self.forward([argument.array for argument in self.arguments])[0]
        self.scalar = output.ndim == 0 or (output.size == 1 and not (required(grad_f) or 0) > 1)
        self._check_signature(output)

    def _check_signature(self, output: np.ndarray) -> None:
        count = 1 if self.scalar else 2
        if not takes(self._grad_f, count):
            got = "one number" if self.scalar else f"an array of shape {output.shape}"
            form = "grad_f(x)" if self.scalar else "grad_f(x, cotangent), the product of the cotangent and the Jacobian"
            raise UsageError(f"f returns {got}, and grad_f cannot be called as {form.partition(',')[0]}", allowed=form,
                             instead="" if self.scalar else "For the slope of an elementwise function write lambda x, u: u * grad_f(x).")

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """``f`` at a copy of x with these arrays in it."""
        self._given = arrays
        copies = [np.array(array) for array in arrays]
        output = output_array(self._f(self._nested.rebuild(copies)), "f")
        self._compare("forward", copies)
        return [output]

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """``grad_f`` at a copy of x."""
        copies = [np.array(array) for array in self._given]
        extra = [] if self.scalar else [np.array(cotangents[0])]
        gradient = self._grad_f(self._nested.rebuild(copies), *extra)
        self._compare("backward", copies)
        for passed in extra:
            self.note_change(("backward", "the cotangent", "cotangent"), cotangents[0], passed)
        return matched(gradient, self._x, "x", "grad_f")

    def _compare(self, stage: str, copies: Arrays) -> None:
        for argument, before, after in zip(self.arguments, self._given, copies, strict=True):
            self.note_change((stage, argument.name, "argument"), before, after)


class PairUnit(Unit):
    """``forward(*arguments) -> (output, ..., cache)`` and ``backward(cotangent, ..., cache) -> one gradient per array of floats``."""

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any], arguments: Sequence[Any] | Mapping[str, Any]) -> None:
        self._forward, self._backward = forward, backward
        named = dict(arguments) if isinstance(arguments, Mapping) else _named(forward, arguments)
        self._all = named
        self._floats = [name for name, value in named.items() if _differentiable(value)]
        if not self._floats:
            raise UsageError("no argument of forward is an array of floats", allowed="at least one numpy array of floats")
        super().__init__(identity_of(backward), [Argument(name=name, array=real(named[name], name)) for name in self._floats],
                         Memory(forward, backward))
        self._given: Arrays = ()
        self._cache: Any = None

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """``forward`` at copies; its last value is the cache."""
        self._given = arrays
        copies = [np.array(array) for array in arrays]
        floats = dict(zip(self._floats, copies, strict=True))
        result = self._forward(*[floats[name] if name in floats else copy.deepcopy(value) for name, value in self._all.items()])
        if not isinstance(result, tuple) or len(result) < 2:
            raise UsageError(f"forward returned {kind_of(result)}", allowed="a tuple (output, cache), or (output, ..., cache)")
        self._compare("forward", copies)
        self._cache = result[-1]
        return [output_array(output, "forward") for output in result[:-1]]

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """``backward`` with copies of the cotangents and the cache of the last ``call``."""
        copies = [np.array(cotangent) for cotangent in cotangents]
        result = self._backward(*copies, self._cache)
        for before, after in zip(cotangents, copies, strict=True):
            self.note_change(("backward", "the cotangent", "cotangent"), before, after)
        gradients = result if isinstance(result, tuple | list) else (result,)
        if len(gradients) != len(self._floats):
            raise UsageError(f"backward returned {len(gradients)} gradients", allowed=f"one for each of {', '.join(self._floats)}")
        return [gradient_array(gradient, argument.array.shape, argument.name, "backward")
                for gradient, argument in zip(gradients, self.arguments, strict=True)]

    def _compare(self, stage: str, copies: Arrays) -> None:
        for argument, before, after in zip(self.arguments, self._given, copies, strict=True):
            self.note_change((stage, argument.name, "argument"), before, after)


def _differentiable(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.dtype.kind in "cO":
        real(value, "an argument of forward")
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _named(forward: Callable[..., Any], arguments: Any) -> dict[str, Any]:
    """Positional arguments under the names that ``forward`` gives them."""
    if isinstance(arguments, np.ndarray):
        arguments = (arguments,)
    if not isinstance(arguments, tuple | list):
        raise UsageError(f"the arguments are of type {kind_of(arguments)}", allowed="a tuple of arguments, or a dict of them by name")
    try:
        bound = inspect.signature(forward).bind(*arguments)
    except ValueError:
        return {f"argument {index}": value for index, value in enumerate(arguments)}
    except TypeError as error:
        raise UsageError(f"forward does not take these {len(arguments)} arguments: {error}") from None
    names: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        names |= {f"{name}[{i}]": item for i, item in enumerate(value)} if _starred(forward, name) else {name: value}
    return names


def _starred(forward: Callable[..., Any], name: str) -> bool:
    return inspect.signature(forward).parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
