"""Parameters of hand-written layers and where their gradients are kept, told or found by the usual conventions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import kind_of
from gradcheck_suite.handwritten.units import required

VALUES: Final = ("params", "parameters")
GRADIENTS: Final = ("grads", "gradients")
_SPELLINGS: Final = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "{}grad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An array inside a layer, and how to read its gradient after a backward pass."""

    name: str
    array: np.ndarray
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class WithParameters:
    """A layer whose parameters do not follow the conventions, for ``check_network``.

    Attributes:
        layer: with ``forward(x)`` and ``backward(grad_output)``.
        parameters: name -> (array, gradient); the gradient is the name of an attribute of the layer, or a function of the
            layer, or of nothing, that returns it after ``backward``.
    """

    layer: Any
    parameters: Mapping[str, tuple[np.ndarray, Any]]


def told(layer: Any, parameters: Mapping[str, Any]) -> list[Parameter]:
    """The parameters that a user lists.

    Raises:
        UsageError: an item is not a pair of a writeable array of floats and a way to its gradient.
    """
    return [_told(layer, str(name), item) for name, item in parameters.items()]


def _told(layer: Any, name: str, item: Any) -> Parameter:
    form = "parameters={name: (array, gradient)}, the gradient an attribute's name or a function that returns it"
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UsageError(f"the parameter {name} is described by {kind_of(item)}", allowed=form)
    array, way = item
    _check_array(name, array)
    if isinstance(way, str):
        return Parameter(name=name, array=array, read=lambda: getattr(layer, way))
    if not callable(way):
        raise UsageError(f"the gradient of {name} is described by {kind_of(way)}", allowed=form)
    return Parameter(name=name, array=array, read=way if required(way) == 0 else lambda: way(layer))


def _check_array(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or not array.flags.writeable:
        kind = str(array.dtype) if isinstance(array, np.ndarray) else kind_of(array)
        state = "a read-only array" if isinstance(array, np.ndarray) and not array.flags.writeable else kind
        raise UsageError(f"the parameter {name} is {state}",
                         allowed="a writeable numpy array of floats (it is changed in place and put back)")


class Finder:
    """Looks for parameters in a layer: made before one forward and backward pass, asked after it."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._owners = dict(_owners(layer, "", set()))
        self._before: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {
            path: {name: (value, value.copy()) for name, value in _attributes(owner).items() if _is_array(value)}
            for path, owner in self._owners.items()}

    def found(self) -> tuple[list[Parameter], tuple[str, ...]]:
        """The parameters, and the names of arrays that look like parameters but have no gradient.

        An array counts where the passes left it in place and unchanged: what a pass replaced is a cache. A layer inside the
        layer is searched as well.

        Raises:
            UsageError: values and gradients do not match.
        """
        parameters: dict[int, Parameter] = {}
        lonely: list[tuple[str, np.ndarray]] = []
        for path, owner in self._owners.items():
            for parameter in (*_listed(owner, path), *self._spelled(owner, path)):
                parameters.setdefault(id(parameter.array), parameter)
            lonely += [(f"{path}{name}", value) for name, (value, _) in self._kept(owner, path).items()]
        gradients = {id(parameter.read()) for parameter in parameters.values()}
        unchecked = [name for name, value in lonely if id(value) not in parameters and id(value) not in gradients]
        return list(parameters.values()), tuple(unchecked)

    def _kept(self, owner: Any, path: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        now = _attributes(owner)
        return {name: (value, before) for name, (value, before) in self._before[path].items()
                if now.get(name) is value and np.array_equal(value, before, equal_nan=True)}

    def _spelled(self, owner: Any, path: str) -> Iterator[Parameter]:
        now = _attributes(owner)
        for name, (value, _) in self._kept(owner, path).items():
            bare, hidden = name.lstrip("_"), "_" * (len(name) - len(name.lstrip("_")))
            spelling = next((hidden + form.format(bare) for form in _SPELLINGS if _is_array(now.get(hidden + form.format(bare)))), None)
            if spelling is not None:
                _check_array(f"{path}{name}", value)
                yield Parameter(name=f"{path}{name}", array=value, read=_attribute_reader(owner, spelling))


def _attribute_reader(owner: Any, name: str) -> Callable[[], Any]:
    return lambda: getattr(owner, name)


def _listed(owner: Any, path: str) -> Iterator[Parameter]:
    """``params`` and ``grads`` (or ``parameters`` and ``gradients``), both dicts or both lists."""
    values = next((held for name in VALUES if isinstance(held := getattr(owner, name, None), Mapping | list | tuple)), None)
    named = next((name for name in GRADIENTS if isinstance(getattr(owner, name, None), Mapping | list | tuple)), None)
    if values is None or named is None or not len(values):
        return
    gradients = getattr(owner, named)
    keys: list[Any] = list(values) if isinstance(values, Mapping) else list(range(len(values)))
    there: list[Any] = list(gradients) if isinstance(gradients, Mapping) else list(range(len(gradients)))
    if set(keys) - set(there):
        missing = ", ".join(str(key) for key in keys if key not in there)
        raise UsageError(f"{kind_of(owner)} has no gradient for {missing}: {named} holds {', '.join(map(str, there)) or 'nothing'}",
                         allowed="one gradient for each parameter, under the same name",
                         instead="Write parameters={name: (array, gradient)} to choose what is checked.")
    for key in keys:
        name = f"{path}{key}" if isinstance(values, Mapping) else f"{path}params[{key}]"
        _check_array(name, values[key])
        yield Parameter(name=name, array=values[key], read=_item_reader(owner, named, key))


def _item_reader(owner: Any, named: str, key: Any) -> Callable[[], Any]:
    return lambda: getattr(owner, named)[key]


def _owners(layer: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The layer and the layers it holds in attributes, lists and dicts, each with the prefix of its parameters' names."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for name, value in _attributes(layer).items():
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        for label, item in [(name, value), *((f"{name}[{key}]", item) for key, item in items)]:
            if callable(getattr(item, "forward", None)) and callable(getattr(item, "backward", None)):
                yield from _owners(item, f"{path}{label}.", seen)


def _attributes(owner: Any) -> dict[str, Any]:
    fields = dict(getattr(owner, "__dict__", {}))
    for kind in type(owner).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        fields |= {name: getattr(owner, name) for name in ([slots] if isinstance(slots, str) else slots)
                   if name != "__dict__" and hasattr(owner, name)}
    return fields


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
