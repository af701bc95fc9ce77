"""Finding the first operation whose inputs are finite and whose result is not."""

import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.captures.backward_pass import Producer
from gradcheck_suite.probes.execution import floating, hookable, objective
from gradcheck_suite.subject import Batch, Setup

_PROBES = str(Path(__file__).parent)
_PACKAGE = str(Path(__file__).parent.parent)
_WRITERS = {"masked_fill", "masked_fill_", "fill_", "full", "full_like", "where", "scalar_tensor", "triu", "tril", "lift_fresh"}


def first_producer(setup: Setup, batch: Batch, seed: int) -> Producer | None:
    """Run forward and backward again under a watch of every operation; ``None`` where every operation stayed finite.

    Operations that write a given infinity (masks) are not producers, those that write NaN are. The backward pass names the
    line of the forward pass that made the operation, from the traceback that anomaly mode keeps.
    """
    watch = _Watch(setup.model)
    with torch.enable_grad(), torch.autograd.set_detect_anomaly(True, check_nan=False):
        handles = [module.register_forward_pre_hook(watch.enter, prepend=True) for _, module in hookable(setup.model)]
        handles += [module.register_forward_hook(watch.leave) for _, module in hookable(setup.model)]
        try:
            with watch:
                value = objective(setup, setup.model(*batch.args, **batch.kwargs), seed)
                watch.phase = "backward"
                value.backward()  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
    return watch.found


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = "forward"
        self.found: Producer | None = None
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._stack: list[tuple[str, int]] = []
        self._ranges: list[tuple[int, int, str]] = []

    def __deepcopy__(self, memo: Any) -> "_Watch":
        return self  # a copy that the model makes of a module has the same hooks; they do not know it

    def enter(self, module: nn.Module, args: Any) -> None:
        if self.phase == "forward" and id(module) in self._paths:
            self._stack.append((self._paths[id(module)], _sequence_number()))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.phase == "forward" and id(module) in self._paths:
            path, start = self._stack.pop()
            self._ranges.append((start, _sequence_number(), path))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        sound = self.found is None and not any(_has_nonfinite(tensor) for tensor in floating((args, given)))
        result = func(*args, **given)
        name = func._schema.name.removeprefix("aten::")
        bad = _has_nan if name in _WRITERS else _has_nonfinite
        if sound and any(bad(tensor) for tensor in floating(result)):
            self.found = self._describe(name)
        return result

    def _describe(self, name: str) -> Producer:
        if self.phase == "forward":
            module = self._stack[-1][0] if self._stack else ""
            return Producer(phase="forward", operation=name, module=module, source=_source(traceback.format_stack()))
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return Producer(phase="backward", operation=name, module=None, source=None)
        number = node._sequence_nr()
        inside = [(end - start, path) for start, end, path in self._ranges if start <= number < end]
        source = _source(node.metadata.get("traceback_", []))
        return Producer(phase="backward", operation=node.name(), module=min(inside)[1] if inside else "", source=source)


def _sequence_number() -> int:
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]


def _has_nonfinite(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and not bool(torch.isfinite(tensor).all())


def _has_nan(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and bool(torch.isnan(tensor).any())


def _source(stack: list[str]) -> str | None:
    """The innermost line of a formatted stack that is neither torch's nor this package's, within the call of the model."""
    for entry in reversed(stack):
        place = entry.strip().split("\n")[0]
        if not place.startswith('File "') or "/torch/" in place:
            continue
        file, _, rest = place.removeprefix('File "').partition('", line ')
        if _PROBES in file:
            if file == __file__ and "__torch_dispatch__" not in rest and "_describe" not in rest:
                return None
            continue
        if _PACKAGE not in file:
            return f"{file}:{rest.split(',')[0]}"
    return None
