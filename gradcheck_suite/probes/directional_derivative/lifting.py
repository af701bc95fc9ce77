"""Lifting: a run in which casts to a narrower type are left out, so that the mathematics around them can be checked.

A model that computes a norm in float32 whatever its own precision limits what differences can resolve. The same operations
without the narrow type are the same function, and their gradient is checked instead; that they were lifted is said.
"""

from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WIDER: Final = {torch.float32: torch.float64, torch.float16: torch.float64, torch.bfloat16: torch.float64,
                torch.complex64: torch.complex128, torch.complex32: torch.complex128}


class Lifting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode in which every result that was asked for in a narrow type comes in double precision."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or importing torch._dynamo, seconds of it, would come with the first operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        asked = options.get("dtype")
        if isinstance(asked, torch.dtype) and asked in WIDER:
            options["dtype"] = WIDER[asked]
        output = func(*args, **options)
        if func._schema.name == "aten::lift_fresh" and output.dtype in WIDER:
            return output.to(WIDER[output.dtype])
        return output


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in double precision."""
    return tensor.to(WIDER.get(tensor.dtype, tensor.dtype))
