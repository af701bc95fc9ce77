"""Resets: what a forward pass changes in its modules (buffers, counters, caches, lists), found once and undone after every run.

``probes.state.preserved`` guards the model as a whole. This is the light half: a call that is run again and again must
start from the same state each time, or a running statistic would pass for a slope.
"""

import operator
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.interception import ENTRANCE

_CONTAINERS: Final = (dict, OrderedDict, list, set, deque)
_ABSENT: Final = object()


class _Held:
    """One module as it was: its attributes, the contents of its containers, the values of its tensors."""

    __slots__ = ("attributes", "contents", "module", "values")

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes: dict[str, Any] = {name: value for name, value in vars(module).items() if name != ENTRANCE}
        self.contents = {name: value.copy() for name, value in self.attributes.items() if type(value) in _CONTAINERS}
        tensors = [v for v in (*module._buffers.values(), *self.attributes.values()) if isinstance(v, torch.Tensor)]
        self.values = [(tensor, tensor._version, tensor.detach().clone()) for tensor in tensors if tensor.layout == torch.strided]

    def moved(self) -> bool:
        """Whether a run left something of it changed."""
        now = vars(self.module)
        if len(now) - (ENTRANCE in now) != len(self.attributes):
            return True
        if not _same_values(now, self.attributes):
            return True
        if any(not _same_items(self.attributes[name], content) for name, content in self.contents.items()):
            return True
        return any(tensor._version != version or not torch.equal(tensor, value) for tensor, version, value in self.values)

    def restore(self) -> None:
        """Put everything back, values without touching version counters."""
        now = vars(self.module)
        for name in [name for name in now if name not in self.attributes and name != ENTRANCE]:
            del now[name]
        now.update(self.attributes)
        for name, content in self.contents.items():
            container = self.attributes[name]
            if not _same_items(container, content):
                container.clear()
                container.extend(content) if isinstance(container, list | deque) else container.update(content)
        for tensor, _, value in self.values:
            if tensor.dtype == value.dtype and tensor.shape == value.shape:
                tensor.data.copy_(value)


def _same_items(container: Any, content: Any) -> bool:
    if len(container) != len(content):
        return False
    if not content:
        return True
    if isinstance(container, dict):
        return _same_values(container, content)
    if isinstance(container, set):
        return bool(container == content)
    return all(first is second for first, second in zip(container, content, strict=True))


def _same_values(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether every name of ``before`` still has the very same value: at a glance where nothing changed, else name by name."""
    if now.keys() == before.keys() and all(map(operator.is_, now.values(), before.values())):
        return True
    return all(now.get(name, _ABSENT) is value for name, value in before.items())


class Resets:
    """The state of all modules before a run, and after it those that must be put back each time."""

    def __init__(self, root: nn.Module) -> None:
        self._held = {id(module): _Held(module) for module in root.modules()}
        self._moved: dict[int, _Held] = {}
        self._subtrees: dict[int, list[_Held]] = {}

    def observe(self) -> None:
        """Note which modules the run just made has changed; their state now is not yet put back."""
        self._moved = {key: held for key, held in self._held.items() if held.moved()}
        self._subtrees.clear()

    def accept(self, modules: Iterable[nn.Module]) -> None:
        """Take the state of these modules as it is now for the state to return to."""
        for module in modules:
            self._held[id(module)] = self._moved[id(module)] = _Held(module)

    def restore(self, root: nn.Module | None = None) -> None:
        """Put back what the observed run changed, in the whole model or in one module and those inside it."""
        for held in self._moved.values() if root is None else self._of(root):
            held.restore()

    def _of(self, root: nn.Module) -> list[_Held]:
        if not self._moved:
            return []
        found = self._subtrees.get(id(root))
        if found is None:
            found = [self._moved[id(module)] for module in root.modules() if id(module) in self._moved]
            self._subtrees[id(root)] = found
        return found
