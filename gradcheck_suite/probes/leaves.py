"""Watching leaf layers: every module that calls no other and every known activation called as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradcheck_suite.probes import steps
from gradcheck_suite.probes.execution import floating, hookable

Apply = Callable[[torch.Tensor], Any]


@dataclass(slots=True)
class LeafCall:
    """One call of a leaf layer.

    ``apply`` evaluates the same layer again on one tensor (without the model's hooks); ``inputs`` and ``outputs`` are its
    floating tensors (inputs of in-place layers as they were before), ``outputs`` carrying the graph.
    """

    path: str
    kind: str
    apply: Apply | None
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    module: nn.Module | None = None


class LeafWatch(TorchFunctionMode):
    """While open, hands each ``LeafCall`` to ``observe`` as soon as the call has returned."""

    def __init__(self, model: nn.Module, observe: Callable[[LeafCall], None]) -> None:
        super().__init__()
        self._observe = observe
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._modules = [module for _, module in hookable(model)]
        self._known = {id(module) for module in self._modules if steps.module_step(module) is not None}
        self._stack: list[tuple[nn.Module, list[int], list[torch.Tensor] | None]] = []
        self._paused = 0
        self._handles: list[Any] = []

    def __enter__(self) -> "LeafWatch":
        for module in self._modules:
            self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        found = None if self._paused else steps.function_step(func, args, given)
        if found is None or found[0] == "flatten" or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **given)
        source = args[0].detach().clone()
        result = func(*args, **given)

        def apply(x: torch.Tensor) -> Any:
            return func(x, *args[1:], **given)

        path = self._paths[id(self._stack[-1][0])] if self._stack else ""
        self._emit(LeafCall(path, found[0], apply, [source], floating(result)))
        return result

    def __deepcopy__(self, memo: Any) -> "LeafWatch":
        return self  # a copy that the model makes of a module has the same hooks; they do not know it

    def _enter(self, module: nn.Module, args: Any) -> None:
        if id(module) not in self._paths:
            return
        if self._stack:
            self._stack[-1][1][0] += 1
        before = [tensor.detach().clone() for tensor in floating(args)] if vars(module).get("inplace") else None
        self._stack.append((module, [0], before))
        self._paused += id(module) in self._known

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if id(module) not in self._paths:
            return
        _, (called,), before = self._stack.pop()
        self._paused -= id(module) in self._known
        if called or self._paused:
            return
        inputs = before if before is not None else floating((args, kwargs))
        apply = module.forward if len(inputs) == 1 and not kwargs and len(args) == 1 else None
        self._emit(LeafCall(self._paths[id(module)], type(module).__name__, apply, inputs, floating(output), module))

    def _emit(self, call: LeafCall) -> None:
        self._paused += 1
        try:
            self._observe(call)
        finally:
            self._paused -= 1
