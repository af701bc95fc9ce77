"""Whether the corpus is what it says, by means of its own: autograd against autograd, and plain central differences.

Nothing here uses the tool under test.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .case import Build, Case, Facts

Gradients = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass: floating outputs, the scalar that was differentiated, gradients by name."""

    outputs: tuple[Tensor, ...]
    value: Tensor
    gradients: Gradients


def made(build: Build, seed: int) -> Facts:
    """A target's facts from a seed."""
    torch.manual_seed(seed)
    return build()


def floats(value: Any) -> Iterator[Tensor]:
    """The floating tensors of a nested result, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from floats(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from floats(getattr(value, name))


def scalar(found: Facts, inputs: Any, seed: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """Floating outputs and the loss, or without one their contraction with a cotangent drawn from the seed."""
    torch.manual_seed(seed)
    result = found["model"](**inputs) if isinstance(inputs, dict) else found["model"](*inputs, **found.get("kwargs", {}))
    outputs = tuple(floats(result))
    if found.get("loss") is not None:
        return outputs, found["loss"](result, found.get("targets"))
    generator = torch.Generator().manual_seed(seed)
    cotangents = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in outputs]
    return outputs, torch.stack([(u * t).sum() for u, t in zip(cotangents, outputs, strict=True)]).sum()


def leaves(found: Facts, *, inputs_need_gradient: bool = True) -> tuple[Any, Gradients]:
    """The inputs, copied, and everything a gradient is due for: parameters and floating inputs by name."""
    given = found["inputs"] if isinstance(found["inputs"], dict | tuple | list) else (found["inputs"],)
    pairs = given.items() if isinstance(given, dict) else enumerate(given)
    copies: dict[Any, Any] = {}
    wanted: Gradients = {name: p for name, p in found["model"].named_parameters() if p.requires_grad}
    for key, value in pairs:
        copies[key] = value
        if isinstance(value, Tensor) and value.is_floating_point():
            copies[key] = value.detach().clone().requires_grad_(inputs_need_gradient)
            if inputs_need_gradient:
                wanted[f"input {key}"] = copies[key]
    return (copies if isinstance(given, dict) else tuple(copies.values())), wanted


def run(found: Facts, seed: int, *, inputs_need_gradient: bool = True, second: bool = False) -> Pass:
    """Forward and backward; with ``second`` the gradient of the gradient along a direction drawn from the seed."""
    inputs, wanted = leaves(found, inputs_need_gradient=inputs_need_gradient)
    outputs, value = scalar(found, inputs, seed)
    gradients = _gradients(value, wanted, create_graph=second)
    if second:
        value = _along(gradients, seed)
        gradients = _gradients(value, wanted)
    return Pass(tuple(t.detach() for t in outputs), value.detach(), {name: g.detach() for name, g in gradients.items()})


def _along(gradients: Gradients, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    draws = (torch.randn(g.shape, generator=generator, dtype=torch.float64).to(g.dtype) for g in gradients.values())
    return torch.stack([(g * v).sum() for g, v in zip(gradients.values(), draws, strict=True)]).sum()


def _gradients(value: Tensor, wanted: Gradients, *, create_graph: bool = False) -> Gradients:
    """By ``grad`` where a graph is wanted, else by ``backward``, which reentrant checkpoints need; absent ones as zeros."""
    if create_graph:
        found = torch.autograd.grad(value, list(wanted.values()), create_graph=True, allow_unused=True)
    else:
        for t in wanted.values():
            t.grad = None
        value.backward()
        found = tuple(t.grad for t in wanted.values())
    return {name: torch.zeros_like(t) if g is None else g.to_dense() for (name, t), g in zip(wanted.items(), found, strict=True)}


def differences(bug: Gradients, twin: Gradients) -> dict[str, float]:
    """Relative norm of the difference by tensor, for those that differ at all."""
    sizes = {}
    for name, right in twin.items():
        wrong = bug[name]
        if not torch.isfinite(wrong).all():
            sizes[name] = math.inf
        elif not torch.equal(wrong, right):
            length = float(right.norm())
            sizes[name] = float((wrong - right).norm()) / length if length else math.inf
    return sizes


def shown(case: Case, seed: int) -> tuple[Pass, Pass]:
    """Bug and twin where the difference shows: at the given input, the witness, or in the second derivative."""
    change: Callable[[Facts], Facts] = case.witness or (lambda found: found)
    facts = []
    for build in (case.bug, case.twin):
        found = made(build, seed)
        torch.manual_seed(seed)
        facts.append(change(found))
    options = {"inputs_need_gradient": case.inputs_need_gradient, "second": case.needs == "second order"}
    return run(facts[0], seed, **options), run(facts[1], seed, **options)


def double(found: Facts) -> Facts:
    """The facts in float64."""
    inputs = found["inputs"]
    cast = {k: _double(v) for k, v in inputs.items()} if isinstance(inputs, dict) else tuple(_double(v) for v in inputs)
    return found | {"model": found["model"].double(), "inputs": cast, "targets": _double(found.get("targets"))}


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def disagreement(found: Facts, seed: int, *, second: bool = False, step: float = 1e-5) -> float:
    """Smallest relative disagreement of the gradient with Richardson's extrapolation of central differences.

    Along one random direction through parameters and inputs, relative to the length of the terms of the slope; smallest over
    two steps a factor of ten apart, to be small wherever the gradient is right and the function smooth enough.
    """
    inputs, wanted = leaves(found)
    buffers = {name: b.detach().clone() for name, b in found["model"].named_buffers()}
    generator = torch.Generator().manual_seed(seed + 2)
    moves = {name: torch.randn(t.shape, generator=generator, dtype=t.dtype) * _size(t) for name, t in wanted.items()}
    origin = {name: t.detach().clone() for name, t in wanted.items()}

    def move(h: float) -> None:
        with torch.no_grad():
            for name, buffer in found["model"].named_buffers():
                buffer.copy_(buffers[name])
            for name, t in wanted.items():
                t.copy_(origin[name] + h * moves[name])

    def value(h: float) -> float:
        move(h)
        _, total = scalar(found, inputs, seed)
        return float((_along(_gradients(total, wanted, create_graph=True), seed) if second else total).detach())

    def slope(h: float) -> float:
        wide, narrow = ((value(k) - value(-k)) / (2 * k) for k in (h, h / 2))
        return (4 * narrow - wide) / 3

    numeric = [slope(step), slope(10 * step)]
    move(0.0)
    terms = {name: (g * moves[name]).flatten() for name, g in _at(found, inputs, wanted, seed, second=second).items()}
    analytic = sum(float(t.sum()) for t in terms.values())
    length = math.sqrt(sum(float(t.square().sum()) for t in terms.values()))
    return min(abs(analytic - d) for d in numeric) / length if length else max(map(abs, numeric))


def _at(found: Facts, inputs: Any, wanted: Gradients, seed: int, *, second: bool) -> Gradients:
    _, total = scalar(found, inputs, seed)
    gradients = _gradients(total, wanted, create_graph=second)
    return _gradients(_along(gradients, seed), wanted) if second else gradients


def _size(t: Tensor) -> float:
    size = float(t.detach().square().mean().sqrt()) if t.numel() else 0.0
    return size if size > 0 else 1.0


def moved(found: Facts, seed: int, size: float = 1e-2) -> Facts:
    """The facts with noise of that size added to parameters and floating inputs, off any kink."""
    generator = torch.Generator().manual_seed(seed + 3)

    def shift(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.detach() + size * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        return value

    with torch.no_grad():
        for parameter in found["model"].parameters():
            parameter.copy_(shift(parameter))
    inputs = found["inputs"]
    return found | {"inputs": {k: shift(v) for k, v in inputs.items()} if isinstance(inputs, dict) else tuple(map(shift, inputs))}
