"""Leniency: what a model does in its forward pass that nobody minds in training must not stop an experiment.

A feature extractor that writes ``hidden.requires_grad = True`` expects plain data. Where an experiment differentiates with respect to
the input, ``hidden`` is computed and requires a gradient already, and PyTorch refuses to set the flag. A force field that calls
``torch.autograd.grad`` in its forward pass expects that gradients are recorded. An experiment that only wants outputs turns that off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradcheck_suite.probes.nested import mapped

REFUSALS: Final = ("change requires_grad flags of leaf variables", "does not require grad and does not have a grad_fn")


@contextmanager
def lenient() -> Iterator[None]:
    """While open, both work in every module call, also where a checkpoint makes it again in the backward pass.

    Where recording was off around the outermost call, its outputs are detached, as they would have been.
    """
    usual: Any = nn.Module.__call__
    running = False

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal running
        if running:
            return usual(module, *args, **kwargs)
        recording, running = torch.is_grad_enabled(), True
        try:
            with torch.enable_grad(), _FlagsOnComputed():
                output = usual(module, *args, **kwargs)
            return output if recording else mapped(output, torch.Tensor.detach)
        finally:
            running = False

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = usual  # type: ignore[method-assign]


class _FlagsOnComputed(TorchFunctionMode):
    """While open, asking a computed tensor that requires a gradient to require one does nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        sets = func == torch.Tensor.requires_grad.__set__  # type: ignore[attr-defined]
        if sets or func is torch.Tensor.requires_grad_:
            wanted = args[1] if len(args) > 1 else options.get("requires_grad", True)
            if wanted and args[0].requires_grad:
                return None if sets else args[0]
        return func(*args, **options)
