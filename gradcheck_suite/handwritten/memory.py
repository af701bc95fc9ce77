"""Putting hand-written layers and functions back as they were: attributes, arrays in place, random generators."""

import random
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

_MOST: Final = 20_000
_FOREIGN: Final = {*sys.stdlib_module_names, "numpy", "scipy", "torch", "pytest", "_pytest", "matplotlib", "pandas"}
_ATOMS: Final = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)

Undo = Callable[[], None]


class Memory:
    """What some objects held when this was made, and the means to give it back to them.

    Reaches through attributes, dictionaries, lists, bound methods, closures and partial functions to arrays (written back in
    place, so that references stay valid) and generators of random numbers; numpy's and Python's global generators belong
    to it as well. Objects of libraries, and the lists and variables of a closure itself, are left alone. An object graph of more
    than 20 000 objects is remembered in part.
    """

    def __init__(self, *roots: Any) -> None:
        self._values: list[Undo] = []
        self._generators: list[Undo] = [_global_numpy(), _global_python()]
        self._seen: dict[int, Any] = {}
        pending = list(roots)
        while pending and len(self._seen) < _MOST:
            item = pending.pop()
            if id(item) not in self._seen and not isinstance(item, _ATOMS):
                self._seen[id(item)] = item
                pending.extend(self._remember(item))

    def restore(self) -> None:
        """Give everything back, the state of random generators included."""
        for undo in (*self._values, *self._generators):
            undo()

    def rewind(self) -> None:
        """Give back the state of the random generators alone."""
        for undo in self._generators:
            undo()

    def _remember(self, item: Any) -> Iterable[Any]:
        """Note how to restore one object; returns what is to be looked at next."""
        generator = _generator(item)
        if generator is not None:
            self._generators.append(generator)
            return ()
        if isinstance(item, np.ndarray):
            return self._array(item)
        if isinstance(item, dict):
            self._values.append(_refill(item, dict(item), item.update))
            return list(item.values())
        if isinstance(item, list):
            self._values.append(_refill(item, list(item), item.extend))
            return list(item)
        if isinstance(item, set):
            self._values.append(_refill(item, set(item), item.update))
            return ()
        if isinstance(item, tuple):
            return item
        held = _held_by_callable(item)
        return held if held is not None else self._object(item)

    def _array(self, array: np.ndarray) -> Iterable[Any]:
        if array.dtype.hasobject:
            return ()
        if array.flags.writeable:
            kept = array.copy()
            self._values.append(lambda: np.copyto(array, kept))
        return ()

    def _object(self, item: Any) -> Iterable[Any]:
        if type(item).__module__.partition(".")[0] in _FOREIGN:
            return ()
        fields = getattr(item, "__dict__", None)
        found: list[Any] = []
        if isinstance(fields, dict):
            self._values.append(_refill(fields, dict(fields), fields.update))
            found += list(fields.values())
        for name in _slots(type(item)):
            if hasattr(item, name):
                value = getattr(item, name)
                self._values.append(lambda name=name, value=value: object.__setattr__(item, name, value))  # type: ignore[misc]
                found.append(value)
        return found


def _refill(container: Any, kept: Any, fill: Callable[[Any], None]) -> Undo:
    def undo() -> None:
        container.clear()
        fill(kept)

    return undo


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _held_by_callable(item: Any) -> list[Any] | None:
    """What a function, bound method or partial function carries; ``None`` for anything else."""
    if isinstance(item, types.FunctionType):
        held = [*(cell.cell_contents for cell in _cells(item)), *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
        return [inner for value in held for inner in _opened(value)]
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, types.BuiltinFunctionType):
        return []
    if hasattr(item, "func") and hasattr(item, "keywords") and hasattr(item, "args"):
        return [item.func, *item.args, *item.keywords.values()]
    return None


def _cells(item: Any) -> list[types.CellType]:
    """The variables of enclosing functions that a function uses, as far as they have a value."""
    closure = item.__closure__ or () if isinstance(item, types.FunctionType) else ()
    return [cell for cell in closure if _filled(cell)]


def _filled(cell: types.CellType) -> bool:
    try:
        return bool(cell.cell_contents is not cell)
    except ValueError:
        return False


def _opened(value: Any) -> list[Any]:
    """What a function's own container holds: the container itself may be a log of the user's, and is left to grow."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _generator(item: Any) -> Undo | None:
    if isinstance(item, np.random.Generator):
        bits, state = item.bit_generator, item.bit_generator.state
        return lambda: setattr(bits, "state", state)
    if isinstance(item, np.random.RandomState):
        return _legacy(item.get_state, item.set_state)
    if isinstance(item, random.Random):
        drawn = item.getstate()
        return lambda: item.setstate(drawn)
    return None


def _global_numpy() -> Undo:
    return _legacy(np.random.get_state, np.random.set_state)


def _legacy(read: Callable[[], Any], write: Callable[[Any], None]) -> Undo:
    """Put back a Mersenne twister where it has moved: writing its state is slow, reading it is not."""
    kept = read()

    def undo() -> None:
        now = read()
        if now[2:] != kept[2:] or not np.array_equal(now[1], kept[1]):
            write(kept)

    return undo


def _global_python() -> Undo:
    state = random.getstate()
    return lambda: random.setstate(state)
