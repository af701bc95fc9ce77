"""Unstopping: a run in which gradients that the model's code stops go on, so that what else there is can be checked."""

from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from gradcheck_suite.probes.directional_derivative.lifting import Lifting

_DETACH: Final = (torch.Tensor.detach, torch.detach)
_READ: Final = (torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.tolist, torch.Tensor.numpy)


class Unstopped(AbstractContextManager[None]):
    """While open, ``detach`` gives the tensor itself and ``no_grad`` records gradients; ``lifted``: in double precision throughout."""

    def __init__(self, lifted: bool) -> None:
        self._lifted, self._open = lifted, ExitStack()

    def __enter__(self) -> None:
        if self._lifted:
            self._open.enter_context(Lifting())  # type: ignore[no-untyped-call]
        self._open.enter_context(_Flowing())

    def __exit__(self, *_: object) -> None:
        self._open.close()


class _Flowing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DETACH:
            return args[0].view_as(args[0])
        if func is torch._C._set_grad_enabled and not args[0]:
            return None
        if func in _READ:
            args = (args[0].detach(), *args[1:])
        return func(*args, **(kwargs or {}))
