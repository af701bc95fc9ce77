"""Padding rows: what gradient the row of an embedding receives that stands for nothing."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.padding_rows import PaddingRows
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.execution import Running, failures, floating, hookable, objective, realise, tensors
from gradcheck_suite.probes.graph import name_of, uses
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

_LOOKUPS = ("embedding", "embedding_bag", "index", "index_select")


@dataclass(slots=True)
class _Calls:
    """How often a module was called, and how often its padding index was among what it was asked for."""

    module: Any
    number: int = 0
    padded: int = 0


def padding_rows(subject: Subject, budget: Budget, seed: int) -> PaddingRows:
    """One forward and backward pass of the subject's objective, in its own precision (see ``captures.padding_rows``).

    Embeddings whose table belongs to another module as well (tied weights), or is used by anything but lookups in their own calls, are
    left out, as are declared mismatches and tables that no gradient reaches.

    Raises:
        NotApplicable: no trained embedding with a padding row and a table of its own ran and received a gradient.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        setup.model.zero_grad(set_to_none=True)
        calls, value = _forward(setup, seed)
        own = {path: seen for path, seen in calls.items() if path not in setup.intended} if calls else {}
        own = _own_tables(setup.model, own, value)
        if not own:
            raise NotApplicable("no trained embedding with a padding row and a table of its own ran")
        with failures("backward"):
            value.backward()  # type: ignore[no-untyped-call]
        own = {path: seen for path, seen in own.items() if seen.module.weight.grad is not None}
        if not own:
            raise NotApplicable("no embedding with a padding row received a gradient")
        tables = {path: seen.module.weight.grad.detach().to_dense() for path, seen in own.items()}
        largest = [float(tables[path][seen.module.padding_idx].abs().max()) for path, seen in own.items()]
    return PaddingRows(
        paths=tuple(own), kinds=tuple(type(seen.module).__name__ for seen in own.values()),
        index=frozen([seen.module.padding_idx for seen in own.values()], "<i8"),
        calls=frozen([seen.number for seen in own.values()], "<i8"), padded=frozen([seen.padded for seen in own.values()], "<i8"),
        largest=frozen(largest), table=frozen([float(table.abs().max()) for table in tables.values()]),
    )


def _forward(setup: Setup, seed: int) -> tuple[dict[str, _Calls], torch.Tensor]:
    """The calls of every trained embedding with a padding index, and the objective."""
    calls: dict[str, _Calls] = {}
    handles = []
    for path, module in hookable(setup.model):
        if not isinstance(module, nn.Embedding | nn.EmbeddingBag) or module.padding_idx is None or not _trained(module):
            continue
        seen = _Calls(module)

        def keep(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path, seen: _Calls = seen) -> None:
            whole = [tensor for tensor in tensors((args, kwargs)) if not tensor.is_floating_point()]
            if whole and floating(output):
                seen.number, seen.padded = seen.number + 1, seen.padded + int(whole[0].eq(seen.module.padding_idx).sum())
                calls[path] = seen

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        if not handles:
            raise NotApplicable("no trained embedding has a padding row")
        with Running(setup.model) as running, failures("forward", running):
            output = setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, objective(setup, output, seed)


def _trained(module: Any) -> bool:
    weight: Any = getattr(module, "weight", None)
    plain = isinstance(weight, torch.Tensor) and weight.is_leaf and weight.requires_grad
    return plain and weight.dim() == 2 and 0 <= module.padding_idx < len(weight)


def _own_tables(model: nn.Module, calls: dict[str, _Calls], value: torch.Tensor) -> dict[str, _Calls]:
    """Embeddings whose table is taken by one lookup for each of their calls, and belongs to no other module."""
    if not value.requires_grad:
        return {}
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    taken = uses(value)
    found = {}
    for path, seen in calls.items():
        nodes = taken.get(id(seen.module.weight), [])
        looked_up = all(name_of(node) in _LOOKUPS or isinstance(node, BackwardCFunction) for node in nodes)
        if len(nodes) == seen.number and looked_up and owners[id(seen.module.weight)] == 1:
            found[path] = seen
    return found
