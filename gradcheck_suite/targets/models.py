"""The model that was built, made fit for probes: unwrapped, on a real device, its lazy parts materialised."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer
from torch.nn.parameter import is_lazy as _lazy_tensor

from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.subject import Batch
from gradcheck_suite.targets.loading import told

_DEEPEST_WRAPPING: Final = 8


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``; scripted modules stay as they are."""
    for _ in range(_DEEPEST_WRAPPING):
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        elif type(model).__name__ == "OptimizedModule" and isinstance(getattr(model, "_orig_mod", None), nn.Module):
            inner = model._orig_mod
        else:
            return model
        model = inner
    return model


def is_lazy(model: nn.Module) -> bool:
    """Whether any parameter or buffer waits for a first forward pass to get its shape."""
    return any(_lazy_tensor(tensor) for tensor in [*model.parameters(), *model.buffers()])


def refuse_meta(model: nn.Module, label: str) -> None:
    """Raise ``TargetError`` where parameters or buffers have no values."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not _lazy_tensor(tensor) and tensor.is_meta:
            raise TargetError(f"{name!r} of {label} is on the meta device: it has a shape but no values",
                              instead='Build the model on a real device, or call model.to_empty(device="cpu") and initialise it.')


def refuse_cycle(model: nn.Module, label: str) -> None:
    """Raise ``TargetError`` where a module is registered somewhere below itself."""
    found = _cycle(model, "", {id(model): "the whole model"}, set())
    if found is not None:
        raise TargetError(f"in {label}, the module {found[0]!r} is one that contains it ({found[1]}): torch's own train() and to() "
                          "never end there", instead="Keep the way back out of the tree of modules, for instance in a list: "
                                                     "self.parent = [parent].")


def _cycle(module: nn.Module, path: str, above: dict[int, str], done: set[int]) -> tuple[str, str] | None:
    for name, child in module._modules.items():
        below = f"{path}.{name}" if path else name
        if id(child) in above:
            return below, above[id(child)]
        if child is not None and id(child) not in done:
            found = _cycle(child, below, {**above, id(child): below}, done)
            if found is not None:
                return found
    done.add(id(module))
    return None


@contextlib.contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside, each module's own mode afterwards: a pass that leaves statistics and state alone."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def materialise(model: nn.Module, batch: Batch, label: str) -> None:
    """Run one forward pass so that lazy parameters get their shapes."""
    with in_eval_mode(model), told(f"{label} has lazy modules, and the forward pass that gives them their shapes failed"):
        model(*batch.args, **batch.kwargs)


def copy_of_lazy(model: nn.Module) -> nn.Module:
    """A copy to materialise, so that the caller's own module stays lazy."""
    lazy = {id(tensor): UninitializedBuffer(device=tensor.device, dtype=tensor.dtype)  # type: ignore[call-arg]
            for tensor in model.buffers() if isinstance(tensor, UninitializedBuffer)}  # torch cannot copy these by itself
    with told("a module with lazy parts could not be copied"):
        return copy.deepcopy(model, lazy)
