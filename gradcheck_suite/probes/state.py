"""State guard: a probe may do to a model what it likes inside ``preserved``; afterwards every bit is as before."""

import functools
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradcheck_suite.probes.execution import tensors

_REGISTRIES: Final = ("_parameters", "_buffers", "_modules")
_CONTAINERS = (dict, OrderedDict, list, set, deque)
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
_ORDINARY: Final = frozenset((*_CONTAINERS, bool, int, float, str, tuple, type(None)))  # asking torch for its own types takes longer
_Undo = Callable[[], Any]


@contextmanager
def preserved(model: nn.Module, process: bool = True) -> Iterator["Guard"]:
    """Restore the model and the process-wide state on the way out, also after an exception.

    Covered, bit for bit: values, storage, dtype, ``.grad`` and ``requires_grad`` of parameters, buffers and tensors kept as plain
    attributes; each module's attributes (so its mode, hooks, registries, counters), containers among them one level deep, generators among
    them with their states;
    the generators of torch (CPU and initialised CUDA devices), ``random`` and ``numpy.random``; the default dtype; the
    grad mode. Values are written back without touching version counters, so graphs that the caller holds stay usable.
    Not covered: lazy parameters that the block materialises, and state that lives outside the module tree.
    The block is given the guard, which can go back to the beginning more than once and holds one copy of the values.
    Without ``process`` the model alone is guarded, where somebody else guards the process.
    """
    guard = Guard(model, process)
    try:
        yield guard
    finally:
        guard.rewind()


@contextmanager
def process_preserved() -> Iterator[None]:
    """Restore the process-wide state alone (see ``preserved``)."""
    restore = _keep_process()
    try:
        yield
    finally:
        restore()


class Guard:
    """What a model and the process were when the guard was made."""

    def __init__(self, model: nn.Module, process: bool = True) -> None:
        self._process = _keep_process() if process else _nothing
        found = _tensors(model)
        self._tensors = [(tensor, _keep_tensor(tensor)) for tensor, _ in found]
        self._registered = {id(tensor) for tensor, registered in found if registered}
        self._modules = [_Attributes(module) for module in model.modules()]

    def rewind(self) -> None:
        """Put everything back."""
        for module in reversed(self._modules):
            module.restore()
        for _, restore in reversed(self._tensors):
            restore()
        self._process()

    def rewind_tensors(self) -> None:
        """Put back tensors, generators and the process; let Python values that modules hold (counters, flags) run on.

        An integer scalar kept as a plain attribute is a counter and runs on as well.
        """
        for module in reversed(self._modules):
            module.restore_tensors()
        for tensor, restore in reversed(self._tensors):
            if id(tensor) in self._registered or not _is_counter(tensor):
                restore()
        self._process()

    def rewind_process(self) -> None:
        """Put back the process-wide state alone: the model runs on."""
        self._process()


def _nothing() -> None:
    """Leave everything as it is."""


def _tensors(model: nn.Module) -> list[tuple[torch.Tensor, bool]]:
    """Every tensor the modules hold, once each, and whether it is registered: a parameter or a buffer, no plain attribute."""
    found: dict[int, tuple[torch.Tensor, bool]] = {}
    for module in model.modules():
        for item in (*module._parameters.values(), *module._buffers.values()):
            if item is not None and not is_lazy(item):
                found[id(item)] = (item, True)
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not is_lazy(value):
                found.setdefault(id(value), (value, False))
    return list(found.values())


def _keep_tensor(tensor: torch.Tensor) -> _Undo:
    values, requires_grad, leaf = _keep_values(tensor), tensor.requires_grad, tensor.is_leaf
    grad = tensor.grad if leaf else None
    grad_values = None if grad is None else _keep_values(grad)

    def restore() -> None:
        values()
        if leaf and tensor.is_leaf:
            tensor.requires_grad_(requires_grad)
            if grad_values is not None:
                grad_values()
            tensor.grad = grad

    return restore


def _keep_values(tensor: torch.Tensor) -> _Undo:
    alias, values = tensor.data, tensor.data.clone()

    def restore() -> None:
        if not _same_memory(tensor, alias):
            tensor.data = alias
        alias.copy_(values)

    return restore


def _same_memory(tensor: torch.Tensor, alias: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or alias.layout != torch.strided:
        return False
    same_view = tensor.shape == alias.shape and tensor.stride() == alias.stride() and tensor.dtype == alias.dtype
    return same_view and tensor.device == alias.device and tensor.data_ptr() == alias.data_ptr()


class _Attributes:
    """A module's attributes, the contents of containers among them, and the states of generators among them."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._training = module, module.training
        self._compiled = isinstance(module, torch.jit.ScriptModule)
        self._attributes: dict[str, Any] = dict(vars(module))
        self._contents = {name: value.copy() for name, value in self._attributes.items() if type(value) in _CONTAINERS}
        self._generators = [_keep_generator(value) for value in self._attributes.values()
                            if type(value) not in _ORDINARY and isinstance(value, _GENERATORS)]

    def restore(self) -> None:
        """Put back all of them."""
        self._restore_generators()
        if self._compiled:  # its attributes live in C++, and its instance dictionary holds what leads to them
            return
        vars(self._module).clear()
        vars(self._module).update(self._attributes)
        for name in self._contents:
            self._refill(name)

    def restore_tensors(self) -> None:
        """Put back generators, registries, and attributes that hold tensors or held them."""
        self._restore_generators()
        if self._compiled:
            return
        now = vars(self._module)
        for name in {*now, *self._attributes}:
            if name not in _REGISTRIES and not any(map(_carries, (now.get(name), self._attributes.get(name), self._contents.get(name)))):
                continue
            if name in self._attributes:
                now[name] = self._attributes[name]
            else:
                del now[name]
            if name in self._contents:
                self._refill(name)

    def _restore_generators(self) -> None:
        for step in self._generators:
            step()
        self._module.training = self._training

    def _refill(self, name: str) -> None:
        container, content = self._attributes[name], self._contents[name]
        container.clear()
        container.extend(content) if isinstance(container, list | deque) else container.update(content)


def _carries(value: Any) -> bool:
    """Whether there is a tensor in it that is more than a counter."""
    return any(not _is_counter(tensor) for tensor in tensors(value))


def _is_counter(tensor: torch.Tensor) -> bool:
    return tensor.dim() == 0 and not tensor.is_floating_point() and not tensor.is_complex()


def _keep_generator(generator: Any) -> _Undo:
    """A generator of the module's own: torch's, Python's or numpy's."""
    if isinstance(generator, torch.Generator):
        return functools.partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else None
    if bits is None:
        return functools.partial(generator.set_state, generator.get_state())
    return functools.partial(setattr, bits, "state", bits.state)


def _keep_process() -> _Undo:
    cpu = torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    python, legacy = random.getstate(), np.random.get_state()
    dtype, grad_mode = torch.get_default_dtype(), torch.is_grad_enabled()

    def restore() -> None:
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad_mode)

    return restore
