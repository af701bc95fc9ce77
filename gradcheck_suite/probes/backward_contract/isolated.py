"""One custom Function, called alone and differentiated twice, with everything it is given compared bit by bit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES
from gradcheck_suite.probes.directional_derivative.trees import Tree, inexact, inexact_leaves


@dataclass(slots=True)
class Watched:
    """What was seen: per clause how many entries (or gradients) broke it, of how many, and details."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)


def watched(function: Any, args: tuple[Any, ...], draws: Draws) -> Watched:
    """Two backward passes of one call of a Function.

    Raises whatever its forward pass or its first backward pass raises.
    """
    tree, seen = Tree(args), Watched()
    leaves = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in tree.leaves]
    given = [leaf.clone() if leaf.requires_grad else leaf for leaf in leaves]
    with torch.enable_grad(), _returned(function) as returned:
        outputs = [output for output in inexact_leaves(function.apply(*tree.build(given))) if output.requires_grad]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        if not outputs or not wanted:
            return seen
        us = [draws.like(output).clone() for output in outputs]
        kept = {"incoming gradient": us, "inputs": given, "outputs": outputs}
        before = {clause: [tensor.detach().clone() for tensor in tensors] for clause, tensors in kept.items()}
        first = torch.autograd.grad(outputs, wanted, us, retain_graph=True, allow_unused=True)
        first = tuple(None if g is None else g.detach().clone() for g in first)
        for clause, tensors in kept.items():
            seen.counts[clause] = _changed(before[clause], [tensor.detach() for tensor in tensors])
        _note_returned(seen, tree, leaves, returned)
        us = [value.clone() for value in before["incoming gradient"]]
        try:
            second = torch.autograd.grad(outputs, wanted, us, allow_unused=True)
        except FAILURES:
            return seen  # it frees what it saved: one backward pass is all it promises
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    seen.counts["repetition"] = _changed([a for a, _ in pairs], [b for _, b in pairs])
    return seen


def _changed(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> tuple[int, int]:
    """Entries that differ, and entries in all; NaN equals NaN."""
    changed = [int((~((a == b) | (torch.isnan(a) & torch.isnan(b)))).sum()) for a, b in zip(before, after, strict=True)]
    return sum(changed), sum(a.numel() for a in before)


def _note_returned(seen: Watched, tree: Tree, leaves: list[torch.Tensor], returned: list[Any]) -> None:
    """Shapes and dtypes of the gradients that the backward pass returned, held against those of the arguments."""
    if not returned:
        return
    given = returned[0] if isinstance(returned[0], tuple | list) else (returned[0],)
    arguments = tree.build(leaves)
    pairs = [(a, g) for a, g in zip(arguments, given, strict=False) if inexact(a) and a.requires_grad and isinstance(g, torch.Tensor)]
    shapes = [(a.shape, g.shape) for a, g in pairs if a.shape != g.shape]
    dtypes = [(a.dtype, g.dtype) for a, g in pairs if a.dtype != g.dtype]
    seen.counts["shape"], seen.counts["dtype"] = (len(shapes), len(pairs)), (len(dtypes), len(pairs))
    seen.details["shape"] = ", ".join(f"{tuple(g)} for an input of shape {tuple(a)}" for a, g in shapes)
    seen.details["dtype"] = ", ".join(f"{_short(g)} for an input of {_short(a)}" for a, g in dtypes)


@contextmanager
def _returned(function: Any) -> Iterator[list[Any]]:
    """Keep what the Function's backward pass returns: PyTorch looks it up on the class each time it runs."""
    results: list[Any] = []
    name = "vjp" if function.vjp is not torch.autograd.Function.vjp else "backward"
    own, used = function.__dict__.get(name), getattr(function, name)
    try:
        setattr(function, name, staticmethod(_keeping(used, results)))
        yield results
    finally:
        if own is None:
            delattr(function, name)
        else:
            setattr(function, name, own)


def _keeping(backward: Callable[..., Any], results: list[Any]) -> Callable[..., Any]:
    def keep(*args: Any) -> Any:
        results.append(backward(*args))
        return results[-1]

    return keep


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
