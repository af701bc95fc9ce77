"""One forward and backward pass as in training, with what reaches every call: cotangents, autocast, casts to narrower types."""

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradcheck_suite.captures.shipped_precision import Island
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES
from gradcheck_suite.probes.directional_derivative.interception import Proceed, intercepted
from gradcheck_suite.probes.directional_derivative.lines import users_line
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.trees import inexact_leaves
from gradcheck_suite.probes.directional_derivative.whole import Whole
from gradcheck_suite.probes.shipped_precision.draws import Quiet
from gradcheck_suite.probes.shipped_precision.units import Autocast

_CASTS: Final = frozenset(("to", "half", "float", "bfloat16", "type", "type_as", "copy_", "tensor", "as_tensor", "asarray"))
_MOST_ISLANDS: Final = 50


@dataclass(slots=True)
class Observed:
    """What one pass showed.

    ``cotangents`` and ``autocast`` are per call, in the order of the recorded calls; cotangents per output leaf that has one.
    """

    cotangents: list[dict[int, torch.Tensor]] = field(default_factory=list)
    autocast: list[Autocast] = field(default_factory=list)
    islands: list[Island] = field(default_factory=list)


def observed(whole: Whole, calls: list[Call], draws: Draws) -> Observed:
    """Run the whole model and its backward pass once more."""
    watch = _Watch({id(call.module): call.path for call in calls})
    modules = list({id(call.module): call.module for call in calls}.values())
    with intercepted(modules, watch.handle), torch.enable_grad():
        with watch.asked, watch:
            outputs = [value for value in whole.run() if value.requires_grad]
        us = [torch.ones_like(value) if whole.loss is not None else draws.like(value) for value in outputs]
        try:
            torch.autograd.grad(outputs, whole.tensors, us, allow_unused=True)
        except FAILURES:
            watch.seen.cotangents = [{} for _ in watch.seen.cotangents]  # such as a checkpoint that refuses chosen inputs
    whole.reset()
    return watch.seen


class _Asked(TorchFunctionMode):
    """Knows which function of PyTorch's is being called: a cast that nobody asked for is one of automatic mixed precision."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.functions.append(getattr(func, "__name__", ""))
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.functions.pop()


class _Watch(Quiet):  # type: ignore[no-untyped-call]
    """Keeps autocast and cotangents of every call, and as a dispatch mode the casts inside."""

    def __init__(self, paths: dict[int, str]) -> None:
        super().__init__()
        self.seen, self.asked = Observed(), _Asked()
        self._paths, self._stack, self._known = paths, list[nn.Module](), set[tuple[str, str, str]]()

    def handle(self, proceed: Proceed, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call."""
        number = len(self.seen.autocast)
        self.seen.autocast.append(Autocast.now([*inexact_leaves((*args, *kwargs.values())), *module.parameters(recurse=False)]))
        self.seen.cotangents.append({})
        self._stack.append(module)
        try:
            output = proceed(*args, **kwargs)
        finally:
            self._stack.pop()
        for index, leaf in enumerate(inexact_leaves(output)):
            if leaf.requires_grad:
                leaf.register_hook(self._keeper(number, index))  # type: ignore[no-untyped-call]
        return output

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.rpartition("::")[2]
        if name in ("_to_copy", "copy_"):
            self._cast(args[1] if name == "copy_" else args[0], args[0] if name == "copy_" else output)
        return output

    def _keeper(self, number: int, index: int) -> Any:
        def keep(gradient: torch.Tensor) -> None:
            self.seen.cotangents[number][index] = gradient.detach().clone()

        return keep

    def _cast(self, source: Any, target: torch.Tensor) -> None:
        floats = isinstance(source, torch.Tensor) and source.is_floating_point() and target.is_floating_point()
        if not floats or torch.finfo(target.dtype).eps <= torch.finfo(source.dtype).eps or self._own(target.dtype):
            return
        cast = f"{_short(source.dtype)} to {_short(target.dtype)}"
        asked = any(name in _CASTS for name in self.asked.functions)
        module, line = self._paths[id(self._stack[-1])] if self._stack else "", users_line()
        if (module, cast, line) not in self._known and len(self._known) < _MOST_ISLANDS:
            self._known.add((module, cast, line))
            self.seen.islands.append(Island(module=module, cast=cast, source=line or None, autocast=not asked))

    def _own(self, dtype: torch.dtype) -> bool:
        """Whether the innermost module's parameters are no finer than this: a cast to it caps nothing."""
        kinds = {p.dtype for p in self._stack[-1].parameters() if p.is_floating_point()} if self._stack else set()
        return bool(kinds) and torch.finfo(dtype).eps <= min(torch.finfo(kind).eps for kind in kinds)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
