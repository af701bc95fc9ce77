"""What the corpus consists of: wrong gradients with their correct twins, and correct models that look wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

Facts = dict[str, Any]
Build = Callable[[], Facts]
Needs = Literal["configuration", "input", "second order", "precision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A wrong gradient in a small model, and the same model with the right one.

    Attributes:
        id: ``theme/name``.
        trigger: the class of circumstances under which the gradient is wrong, in the words of ``TRIGGERS``.
        bug: makes the facts of a target (``model``, ``inputs``, and where needed ``targets``, ``loss``); the caller seeds.
        twin: the same with the right gradient; from equal seeds both have equal forward passes, bit for bit.
        module: dotted path of the module whose backward code is wrong (``""``: the model itself, or a loss that is a plain function).
        function: class of the wrong ``autograd.Function``, or name of the custom operation, where there is one.
        parameter: name within ``module`` of the only parameter whose gradient is wrong, where there is just one.
        needs: what must change before a difference shows: nothing (``None``), the configuration, the values of the
            input, a second derivative, or an exact reference for the reduced precision of the model.
        witness: changes the facts so that the difference shows (for ``configuration`` and ``input``).
        inputs_need_gradient: whether the witness is run with inputs that require a gradient.
        relative_size: norm of the gradient's error over the norm of the right gradient, worst tensor, where it shows;
            an order of magnitude; a missing gradient counts as zero. ``inf``: not finite, or present where zero is due.
    """

    id: str
    trigger: str
    bug: Build
    twin: Build
    module: str
    function: str | None = None
    parameter: str | None = None
    needs: Needs | None = None
    witness: Callable[[Facts], Facts] | None = None
    inputs_need_gradient: bool = True
    relative_size: float = 1.0

    def at_witness(self) -> "Case":
        """The same wrong gradient where the given configuration and input already show it."""
        if self.witness is None:
            raise ValueError(f"{self.id} has no witness")
        witness, bug, twin = self.witness, self.bug, self.twin
        return replace(
            self, id=f"{self.id}@witness", needs=None, witness=None, bug=lambda: witness(bug()), twin=lambda: witness(twin())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A correct model that looks wrong to a naive check.

    Attributes:
        id: ``theme/name``.
        build: makes the facts of a target; those whose mismatch is wanted declare it under ``intended`` (path or name of a
            Function -> reason).
        trait: what makes it tricky.
        kind: where central differences converge to the gradient: ``smooth``, at the given point; ``kink``, at points moved
            by noise, but not at the given one; ``declared``, nowhere, as the owner of the model says.
        reference: the same mathematics in a form that central differences can follow, where ``build`` is not (its draws
            cannot be replayed, its precision is narrow, its values are chaotic).
        tolerance: relative agreement that central differences reach.
        float64: whether it is float64 throughout.
    """

    id: str
    build: Build
    trait: str
    kind: Literal["smooth", "kink", "declared"] = "smooth"
    reference: Build | None = None
    tolerance: float = 1e-6
    float64: bool = True


class Expression(nn.Module):
    """A forward pass given as a function of the module and its inputs, over named modules and parameters."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(self, *inputs, **named)


TRIGGERS = (
    "always",
    "hyper-parameter",
    "shape",
    "duplicates and ties",
    "mode",
    "randomness",
    "zeros",
    "domain",
    "graph use",
    "requires_grad",
    "cotangent layout",
    "cotangent magnitude",
    "second order",
    "border",
    "affine weights",
    "precision",
)


def facts(model: nn.Module, *inputs: Tensor, dtype: torch.dtype = torch.float64, **others: Any) -> Facts:
    """The facts of a target, its floating tensors in ``dtype``."""

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return {"model": model.to(dtype), "inputs": tuple(cast(t) for t in inputs), **{k: cast(v) for k, v in others.items()}}


def given(*inputs: Tensor) -> Callable[[Facts], Facts]:
    """A witness: other inputs, in the precision of those that were there."""

    def change(found: Facts) -> Facts:
        dtype = next(t.dtype for t in found["inputs"] if t.is_floating_point()) if _floating(found["inputs"]) else torch.float64
        return found | {"inputs": tuple(t.to(dtype) if t.is_floating_point() else t for t in inputs)}

    return change


def drawn(*shapes: tuple[int, ...]) -> Callable[[Facts], Facts]:
    """A witness: normal inputs of other shapes, drawn anew for every seed."""
    return lambda found: found | {"inputs": tuple(torch.randn(shape, dtype=torch.float64) for shape in shapes)}


def setting(path: str, **values: Any) -> Callable[[Facts], Facts]:
    """A witness: attributes of one module set to other values."""

    def change(found: Facts) -> Facts:
        module = found["model"].get_submodule(path)
        for name, value in values.items():
            if not hasattr(module, name):
                raise AttributeError(f"{path} has no {name}")
            setattr(module, name, value)
        return found

    return change


def mode(*, training: bool) -> Callable[[Facts], Facts]:
    """A witness: the model in train or eval mode."""
    return lambda found: found | {"model": found["model"].train(training)}


def loss(function: Callable[[Any, Any], Tensor]) -> Callable[[Facts], Facts]:
    """A witness: another loss."""
    return lambda found: found | {"loss": function}


def scaled(factor: float) -> Callable[[Facts], Facts]:
    """A witness: the floating inputs multiplied by a factor."""
    return lambda found: found | {"inputs": tuple(t * factor if t.is_floating_point() else t for t in found["inputs"])}


def _floating(inputs: tuple[Tensor, ...]) -> bool:
    return any(t.is_floating_point() for t in inputs)
