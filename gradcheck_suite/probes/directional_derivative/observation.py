"""Observation: what a run does that bears on how its gradient may be judged.

Casts to a narrower type (they limit what differences can resolve), gradients that are stopped on purpose (detach, no_grad,
item), and tables whose gradient PyTorch defines away (padding rows, frequency scaling, renormalisation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.probes.directional_derivative.lines import inside_function, own_line, users_line

ROUNDOFF: Final = {torch.float64: 2.0**-53, torch.complex128: 2.0**-53, torch.float32: 2.0**-24, torch.complex64: 2.0**-24,
                    torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
_COPIES: Final = frozenset(("_to_copy", "copy_", "copy", "to"))


@dataclass(slots=True)
class Seen:
    """Facts of one run.

    ``roundoff`` is the unit roundoff of the narrowest type a wider number was cast to (of float64 where there was none), and
    ``narrow`` says what and where that was, or ``kept`` if the outputs turn out not to feel it; ``stopped`` lists operations
    that stop a gradient, with their lines, ``partly`` if one stops anything but a whole argument or output; ``returned`` are the
    positions of outputs that are a detached tensor, or what one was detached from; ``padding`` are (table, row) pairs that
    embeddings skip; ``defined`` are tables whose gradient is scaled or rewritten by definition.
    """

    roundoff: float = 2.0**-53
    narrow: str = ""
    kept: str = ""
    stopped: list[str] = field(default_factory=list)
    partly: bool = False
    returned: tuple[int, ...] = ()
    padding: list[tuple[torch.Tensor, int]] = field(default_factory=list)
    defined: list[torch.Tensor] = field(default_factory=list)


class Observation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that fills ``seen``; the run must record gradients, or nothing can be said of stopped ones.

    ``detached`` are the results of the ``detach`` calls that ``seen.stopped`` lists.
    """

    def __init__(self, handed: Callable[[], Sequence[torch.Tensor]] = tuple) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Seen()
        self.detached: list[torch.Tensor] = []
        self._handed = handed
        self._detaching = _Detaching(self._stop)

    def __enter__(self) -> "Observation":
        self._detaching.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._detaching.__exit__(*error)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or importing torch._dynamo, seconds of it, would come with the first operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.rpartition("::")[2]
        if name in _COPIES:
            self._cast(args[-1] if name.startswith("copy") else args[0], args[0] if name == "copy_" else output)
        elif name == "_local_scalar_dense":
            self._stop("item", args[0])
        elif name == "embedding":
            self._table(args, kwargs or {})
        elif name == "embedding_renorm_":
            self.seen.defined.append(args[0])
        elif not torch.is_grad_enabled():
            self._stop("no_grad", next((item for item in args if isinstance(item, torch.Tensor) and item.requires_grad), None))
        elif isinstance(output, torch.Tensor):
            # binary_cross_entropy_with_logits gives float32 for float64 logits and float32 targets
            self._cast(min((item for item in args if isinstance(item, torch.Tensor) and item.dim() and item.dtype in ROUNDOFF),
                           key=lambda item: ROUNDOFF[item.dtype], default=None), output)
        return output

    def _cast(self, source: Any, target: Any) -> None:
        if not (isinstance(source, torch.Tensor) and isinstance(target, torch.Tensor)):
            return
        before, after = ROUNDOFF.get(source.dtype), ROUNDOFF.get(target.dtype)
        if before is not None and after is not None and after > max(before, self.seen.roundoff):
            self.seen.roundoff = after
            self.seen.narrow = f"{_short(source.dtype)} to {_short(target.dtype)}{_at_line()}"

    def _stop(self, what: str, tensor: torch.Tensor | None, result: torch.Tensor | None = None) -> None:
        if tensor is None or not tensor.requires_grad or len(self.seen.stopped) >= 8 or inside_function():
            return
        line = own_line()
        text = f"{what} ({line})"
        if line and text not in self.seen.stopped:
            self.seen.stopped.append(text)
            self.detached += [] if result is None else [result]
            self.seen.partly |= what != "detach" or not any(tensor is whole for whole in self._handed())

    def _table(self, args: Any, kwargs: Any) -> None:
        row = args[2] if len(args) > 2 else kwargs.get("padding_idx", -1)
        scaled = args[3] if len(args) > 3 else kwargs.get("scale_grad_by_freq", False)
        if row >= 0:
            self.seen.padding.append((args[0], int(row)))
        if scaled:
            self.seen.defined.append(args[0])


class _Detaching(TorchFunctionMode):
    """Tells of tensors detached by a Python call: PyTorch itself detaches for reasons of its own."""

    def __init__(self, tell: Callable[[str, torch.Tensor | None, torch.Tensor | None], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.detach, torch.detach):
            self._tell("detach", args[0], result)
        return result


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _at_line() -> str:
    line = users_line()
    return f" ({line})" if line else ""
