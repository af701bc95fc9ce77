"""Random draws of one run, kept and given again to a run in another precision."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.probes.directional_derivative.experiment import NotRepeatable
from gradcheck_suite.probes.directional_derivative.lifting import WIDER

_FILLS = frozenset(("bernoulli_", "uniform_", "normal_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_"))
_MADE = frozenset((
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "normal", "poisson", "multinomial",
))


class Quiet(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not wake the compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or importing torch._dynamo, seconds of it, would come with the first operation


class Keeping(Quiet):  # type: ignore[no-untyped-call]
    """Keeps what every random operation drew, in order; ``narrowest`` is the narrowest floating type that was computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[str, torch.Tensor]] = []
        self.narrowest = torch.float64

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name.rpartition("::")[2]
        if torch.Tag.nondeterministic_seeded in func.tags:
            kept = output[1] if name == "native_dropout" else output
            self.drawn.append((name, kept.detach().clone() if isinstance(kept, torch.Tensor) else torch.empty(0)))
        for value in output if isinstance(output, list | tuple) else (output,):
            if isinstance(value, torch.Tensor) and value.is_floating_point() and _coarser(value.dtype, self.narrowest):
                self.narrowest = value.dtype
        return output


class Repeating(Quiet):  # type: ignore[no-untyped-call]
    """Gives the draws of another run again, in double precision, which every result that is asked for in a narrow type has as well.

    With ``roundoff``, every result is rounded at random besides.
    """

    def __init__(self, drawn: list[tuple[str, torch.Tensor]], roundoff: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self._drawn, self._roundoff = list(drawn), roundoff
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if options.get("dtype") in WIDER:
            options["dtype"] = WIDER[options["dtype"]]
        name = func._schema.name.rpartition("::")[2]
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self._again(name, func, args, options)
        output = func(*args, **options)
        if self._roundoff and name not in EXACT and func._schema.returns:
            return self._rounded(func, args, output)
        return output

    def _again(self, name: str, func: Any, args: Any, options: Any) -> Any:
        if not self._drawn or self._drawn[0][0] != name:
            raise NotRepeatable(f"the twin draws {name} where the first run did not")
        _, known = self._drawn.pop(0)
        if name in _FILLS:
            return args[0].copy_(known)
        if name == "native_dropout":
            return args[0] * known / (1 - args[1]), known
        if name not in _MADE:
            raise NotRepeatable(f"{name} mixes its draws with other arithmetic")
        made = func(*args, **options)
        return known.to(made.dtype) if made.shape == known.shape else made

    def _rounded(self, func: Any, args: Any, output: Any) -> Any:
        aliases = [item.alias_info for item in func._schema.returns]
        values = output if isinstance(output, list | tuple) else [output]
        if any(alias is not None and not alias.is_write for alias in aliases):
            return output  # a view
        if any(alias is not None for alias in aliases):
            for value in values:
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    value.mul_(self.noise(value))
            return output
        moved = [value * self.noise(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in values]
        return type(output)(moved) if isinstance(output, list | tuple) else moved[0]

    def noise(self, value: torch.Tensor) -> torch.Tensor:
        """Factors within one roundoff of 1, of the value's shape."""
        return 1 + self._roundoff * (2 * torch.rand(value.shape, generator=self._generator, dtype=value.dtype) - 1).to(value.device)


def _coarser(first: torch.dtype, second: torch.dtype) -> bool:
    return torch.finfo(first).eps > torch.finfo(second).eps


# Operations that round nothing: they move, choose or copy numbers.
EXACT = frozenset((
    "abs", "amax", "amin", "argmax", "argmin", "cat", "clamp", "clamp_min", "clamp_max", "clone", "constant_pad_nd", "copy_", "detach",
    "diag_embed", "embedding", "empty", "empty_like", "eq", "expand", "fill_", "flip", "full", "full_like", "gather", "ge", "gt",
    "index", "index_select", "isfinite", "isnan", "le", "lift_fresh", "lt", "masked_fill", "masked_fill_", "max", "maximum",
    "max_pool2d_with_indices", "min", "minimum", "ne", "neg", "new_empty", "new_zeros", "ones", "ones_like", "relu", "relu_", "repeat",
    "roll", "scalar_tensor", "select_backward", "sgn", "sign", "slice_backward", "sort", "stack", "threshold_backward", "topk", "triu",
    "tril", "unsqueeze", "where", "zero_", "zeros", "zeros_like", "_to_copy", "_unsafe_view", "_reshape_copy", "floor", "ceil",
    "round", "trunc",
))
