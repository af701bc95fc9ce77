"""Stops in forward mode: PyTorch's ``no_grad`` stops gradients, not tangents; for a comparison of both, tangents must stop as well."""

from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

_FREEZE: Final = (torch.Tensor.requires_grad_, torch.Tensor.requires_grad.__set__)  # type: ignore[attr-defined]


class TangentsStopped(AbstractContextManager["TangentsStopped"]):
    """While open, no tangent goes through what runs with gradients disabled (``detach`` stops both by itself).

    Attributes:
        ignored: a stop that forward mode cannot be made to honour, in words, or ``""``: a tensor with a tangent that is frozen for a while.
    """

    def __init__(self) -> None:
        self._mode = _Mirroring()

    @property
    def ignored(self) -> str:
        return self._mode.ignored

    def __enter__(self) -> "TangentsStopped":
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)  # type: ignore[no-untyped-call]
        self._mode.let_go()


class _Mirroring(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.ignored = ""
        self._held = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch._C._set_grad_enabled:
            self.let_go() if args[0] else self._hold()
        elif func in _FREEZE and not (*args[1:], *(kwargs or {}).values(), True)[0] and self._carries(args[0]):
            self.ignored = "requires_grad_(False) in the forward pass"
        elif self._held:
            return _without_views(result, args)
        return result

    def let_go(self) -> None:
        """Let tangents go on, if this is what holds them: a custom function holds them itself."""
        if self._held:
            torch._C._set_fwd_grad_enabled(True)
            self._held = False

    def _hold(self) -> None:
        if torch._C._is_fwd_grad_enabled():
            torch._C._set_fwd_grad_enabled(False)
            self._held = True

    def _carries(self, tensor: torch.Tensor) -> bool:
        return self._held or forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]


def _without_views(result: Any, args: Any) -> Any:
    """The result with views cut off from the tensor they are views of, whose tangent they would take later on."""
    if type(result) in (tuple, list):
        return type(result)(_without_views(item, args) for item in result)
    new = isinstance(result, torch.Tensor) and result._is_view() and not any(result is given for given in args)
    return result.detach() if new else result
