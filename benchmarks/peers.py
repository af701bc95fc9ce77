"""The peers: torch's gradcheck, slow and fast, parameters included through ``functional_call``.

Everything a careful user would do by hand is done for them: parameters and inputs become arguments, buffers are copied for every
call, and the generators are seeded anew, so that state and dropout do not count against them.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

Answer = Literal["wrong", "right", "raised"]


@dataclass(frozen=True, slots=True)
class Call:
    """What is checked: a model, the arguments of one call, and where there is one the loss with its targets."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    loss: Callable[[Any, Any], Tensor] | None = None
    targets: Any = None

    def function(self, seed: int) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
        """A function of all parameters and floating arguments, and their values."""
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        slots = [key for key, value in self._arguments() if isinstance(value, Tensor) and value.is_floating_point()]
        parameters = dict(self.model.named_parameters())
        arguments = dict(self._arguments())
        values = [parameters[name] for name in names] + [arguments[slot] for slot in slots]
        buffers = dict(self.model.named_buffers())

        def evaluate(*tensors: Tensor) -> tuple[Tensor, ...]:
            torch.default_generator.manual_seed(seed)  # the CPU alone: torch.manual_seed formats a stack for devices not in use
            state = dict(zip(names, tensors, strict=False)) | {name: b.clone() for name, b in buffers.items()}
            filled = arguments | dict(zip(slots, tensors[len(names) :], strict=True))
            args = tuple(filled[i] for i in range(len(self.args)))
            output = functional_call(self.model, state, args, {key: filled[key] for key in self.kwargs})
            return tuple(floating(output)) if self.loss is None else (self.loss(output, self.targets),)

        return evaluate, tuple(value.detach().clone().requires_grad_() for value in values)

    def _arguments(self) -> list[tuple[Any, Any]]:
        return [*enumerate(self.args), *self.kwargs.items()]


def floating(value: Any) -> Iterator[Tensor]:
    """The floating tensors of a nested result, complex ones as pairs of real numbers."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield torch.view_as_real(value) if value.is_complex() else value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from floating(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from floating(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from floating(getattr(value, field.name))


def gradcheck(call: Call, seed: int = 0, *, fast: bool = False, second: bool = False) -> Answer:
    """``torch.autograd.gradcheck`` (or ``gradgradcheck``) with its default tolerances on everything at once."""
    function, values = call.function(seed)
    check = torch.autograd.gradgradcheck if second else torch.autograd.gradcheck
    try:
        return "right" if check(function, values, fast_mode=fast, raise_exception=False) else "wrong"
    except Exception:  # the peer stops where its conditions are not met
        return "raised"


def slow_sample(call: Call, entries: int) -> Callable[[], None]:
    """gradcheck's slow mode on ``entries`` numbers: the smallest parameters and arguments whole, and the beginning of the next.

    Its cost grows by two forward passes per entry: two samples give the line on which the whole lies. Whole tensors, because
    putting a part back into its tensor at every pass would cost as much as the pass of a small model.
    """
    function, values = call.function(0)
    chosen: list[int] = []
    heads: list[Tensor] = []
    left = entries
    for i in sorted((i for i, v in enumerate(values) if v.numel()), key=lambda i: values[i].numel()):
        if left <= 0:
            break
        part = values[i].detach() if values[i].numel() <= left else values[i].detach().flatten()[:left]
        chosen.append(i)
        heads.append(part.clone().requires_grad_())
        left -= part.numel()

    def of_heads(*parts: Tensor) -> tuple[Tensor, ...]:
        filled = [v.detach() for v in values]
        for i, part in zip(chosen, parts, strict=True):
            whole = part.numel() == filled[i].numel()
            filled[i] = part if whole else torch.cat([part, filled[i].flatten()[part.numel() :]]).view_as(values[i])
        return function(*filled)

    def run() -> None:
        torch.autograd.gradcheck(of_heads, tuple(heads), raise_exception=False)

    return run


def extrapolated(small: tuple[int, float], large: tuple[int, float], entries: int) -> float:
    """Seconds for all entries, by the line through two samples (entries, seconds); never less than proportional to the slope."""
    (n, t), (m, u) = small, large
    slope = (u - t) / (m - n)
    return math.nan if slope <= 0 else t + slope * (entries - n)
