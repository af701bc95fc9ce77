"""Drafts: one call of a module that is about to be made otherwise, and the changes that are drawn on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gradcheck_suite.probes.directional_derivative.experiment import DATA, INPUT
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.trees import inexact

Arrange = Callable[[torch.Tensor], torch.Tensor]
After = Callable[[list[torch.Tensor]], list[torch.Tensor]]


class Inapplicable(Exception):
    """A change has nothing to change here."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change to a call.

    Attributes:
        axis: what kind of change it is, in the words of ``AXES``.
        text: the change in words; may hold names of the user's.
        apply: changes a draft, or raises ``Inapplicable``.
        extreme: whether it leads to numbers at which a correct gradient may lose digits or leave the range of its formula.
        rewrites: whether it changes a setting that the owner of the module may have meant to stay.
    """

    axis: str
    text: str
    apply: "Callable[[Draft], None]"
    extreme: bool = False
    rewrites: bool = False


@dataclass(slots=True)
class Draft:
    """A call in the making. ``leaves`` are the leaves of ``(args, kwargs)`` in PyTorch's own order: tensors and plain values.

    Attributes:
        module, path: what is called.
        spec: the nesting of the leaves.
        moving: per leaf, whether it requires a gradient.
        carried: per leaf, whether it carried one in training.
        settings: ``(owner, name, value)``: attributes to be set for the time of the call.
        values: ``(tensor, value)``: parameters and buffers that hold other values for that time.
        frozen: parameters that require no gradient for that time.
        training: the mode, or ``None`` for the one it has.
        arranged: per leaf position, what the module is given in place of the leaf.
        after: what follows the module's outputs, in order.
        disturbed: whether the module is called once more, with other values, before the backward pass.
        cut: an axis that was cut to length one.
        slices: where an axis was put in front, the leaves of each slice.
        sliced: whether the first slice stands for the whole.
    """

    module: nn.Module
    path: str
    leaves: list[Any]
    spec: Any
    moving: list[bool]
    carried: list[bool]
    settings: list[tuple[Any, str, Any]] = field(default_factory=list)
    values: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    frozen: list[nn.Parameter] = field(default_factory=list)
    training: bool | None = None
    arranged: dict[int, Arrange] = field(default_factory=dict)
    after: list[After] = field(default_factory=list)
    disturbed: bool = False
    cut: int | None = None
    slices: list[list[Any]] = field(default_factory=list)
    sliced: bool = False

    @property
    def floating(self) -> list[int]:
        """Positions of the dense floating or complex tensors with entries."""
        return [index for index, leaf in enumerate(self.leaves) if inexact(leaf) and leaf.numel()]

    @property
    def whole_numbers(self) -> list[int]:
        """Positions of the integer tensors with entries."""
        return [index for index, leaf in enumerate(self.leaves) if integral(leaf)]

    def call(self) -> tuple[Call, list[int | None]]:
        """The call, as a record of one, and for each leaf of its arguments the position in the draft."""
        args, kwargs = pytree.tree_unflatten(self.leaves, self.spec)
        made = Call(self.module, self.path, tuple(args), kwargs)
        places = {id(leaf): index for index, leaf in reversed(list(enumerate(self.leaves)))}
        known = [places.get(id(leaf)) for leaf in made.arguments.leaves]
        made.carried = [index is not None and self.moving[index] for index in known]
        made.arguments.leaves = [leaf.detach() for leaf in made.arguments.leaves]
        made.differentiable = True
        return made, known

    def role(self, position: int | None) -> str:
        """Whether a leaf is an ``input`` that carried a gradient in training, or ``data``."""
        return INPUT if position is not None and self.carried[position] else DATA

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the draft's settings, values and mode; everything is put back on the way out."""
        modules = list(self.module.modules())
        modes = [module.training for module in modules]
        kept = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name, _ in self.settings]
        data = [tensor.data for tensor, _ in self.values]
        needed = [parameter.requires_grad for parameter in self.frozen]
        try:
            for owner, name, value in self.settings:
                vars(owner)[name] = value
            for tensor, value in self.values:
                tensor.data = value
            for parameter in self.frozen:
                parameter.requires_grad_(False)
            for module in modules if self.training is not None else ():
                module.training = bool(self.training)
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            for parameter, needs in zip(self.frozen, needed, strict=True):
                parameter.requires_grad_(needs)
            for (tensor, _), value in zip(self.values, data, strict=True):
                tensor.data = value
            for owner, name, value in reversed(kept):
                if value is _ABSENT:
                    vars(owner).pop(name, None)
                else:
                    vars(owner)[name] = value


_ABSENT = object()


def draft_of(call: Call) -> Draft:
    """A draft of a recorded call as it was made, its tensors copied."""
    args, kwargs = call.invocation(call.arguments.leaves)
    leaves, spec = pytree.tree_flatten((list(args), kwargs))
    carried = {id(leaf): flag for leaf, flag in zip(call.arguments.leaves, call.carried, strict=True)}
    copies: dict[int, Any] = {}
    taken = [copies.setdefault(id(leaf), leaf.detach().clone()) if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided
             else leaf for leaf in leaves]
    flags = [bool(carried.get(id(leaf), False)) for leaf in leaves]
    moving = [flag or inexact(leaf) for flag, leaf in zip(flags, leaves, strict=True)]
    return Draft(call.module, call.path, taken, spec, moving, flags)


def integral(value: Any) -> bool:
    """Whether a value is a dense integer tensor with entries (not a boolean one)."""
    whole = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel() > 0
    return whole and not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool
