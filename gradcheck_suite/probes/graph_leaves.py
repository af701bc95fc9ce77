"""Graph leaves: every trainable tensor behind the loss, looked up in the model and in the optimiser."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.graph_leaves import ForeignLeaf, GraphLeaves
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.probes.execution import realise, tensors
from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.graph import leaves
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject


def graph_leaves(subject: Subject, budget: Budget, seed: int) -> GraphLeaves:
    """The leaves (see ``captures.graph_leaves.GraphLeaves``).

    Raises:
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        run = Experiment(setup, seed)
        loss = run.loss()
        found = leaves(loss)
        own = {id(p): name for name, p in setup.model.named_parameters()}
        given = tensors((setup.batch.args, dict(setup.batch.kwargs), setup.batch.targets))
        held = [p for group in (run.optimizer.param_groups if run.optimizer else ()) for p in group["params"]]
        counts = Counter(id(p) for p in held)
        foreign = [leaf for leaf in found if id(leaf) not in own and not _is_given(leaf, given)]
        behind = {id(leaf) for leaf in found}
        return GraphLeaves(
            leaves=sum(id(leaf) in own for leaf in found), foreign=tuple(_foreign(setup.model, leaf, counts) for leaf in foreign),
            trainable=tuple(name for name, p in setup.model.named_parameters() if p.requires_grad),
            optimizer=type(run.optimizer).__name__ if run.optimizer else "",
            uncovered=tuple(name for name, p in setup.model.named_parameters() if p.requires_grad and id(p) not in counts),
            repeated=tuple(name for key, name in own.items() if counts[key] > 1),
            strangers=tuple(tuple(p.shape) for p in held if id(p) not in own and id(p) not in behind),
        )


def _is_given(leaf: torch.Tensor, given: list[torch.Tensor]) -> bool:
    """Whether a leaf is an input, or a detached view or copy of one in whatever shape: a coordinate that the model differentiates in."""
    if isinstance(leaf, nn.Parameter):
        return False
    return any(leaf is one or (leaf.numel() == one.numel() and leaf.dtype == one.dtype and leaf.layout == one.layout == torch.strided
                               and torch.equal(leaf.detach().flatten(), one.detach().flatten()))
               for one in given)


def _foreign(model: nn.Module, leaf: torch.Tensor, held: Counter[int]) -> ForeignLeaf:
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            for suffix, tensor in _inside(value, 3):
                if tensor is leaf:
                    return ForeignLeaf(shape=tuple(leaf.shape), place=f"{path}.{name}{suffix}".lstrip("."), module=path,
                                       held=id(leaf) in held, parameter=isinstance(leaf, nn.Parameter))
    return ForeignLeaf(shape=tuple(leaf.shape), place="", module=None, held=id(leaf) in held, parameter=isinstance(leaf, nn.Parameter))


def _inside(value: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in plain attributes: in lists, tuples and dicts, and in modules that are not registered."""
    if isinstance(value, torch.Tensor):
        yield "", value
    elif isinstance(value, nn.Module):
        yield from ((f".{name}", parameter) for name, parameter in value.named_parameters())
    elif depth and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from ((f"[{index}]{suffix}", tensor) for suffix, tensor in _inside(item, depth - 1))
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from ((f"[{key!r}]{suffix}", tensor) for suffix, tensor in _inside(item, depth - 1))
