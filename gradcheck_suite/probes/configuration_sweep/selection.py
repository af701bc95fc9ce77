"""Selection: which module calls are swept, in what order, and how much one call of each costs."""

from collections.abc import Hashable, Iterable
from typing import Final

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.likeness import Likeness
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.units import hooked, is_stock
from gradcheck_suite.probes.directional_derivative.whole import Objective

_OVERHEAD: Final = 20_000


def swept(calls: Iterable[Call]) -> list[Call]:
    """One call for each kind of module that somebody wrote, those with nothing of their own inside them first."""
    return distinct(call for call in calls if written(call.module))


def distinct(calls: Iterable[Call]) -> list[Call]:
    """One of all equal calls that ran to their end with gradients recorded, those with the fewest calls of such modules inside first."""
    likeness, found = Likeness(), dict[Hashable, Call]()
    for call in calls:
        if call.output is not None and call.differentiable:
            found.setdefault(likeness.key(call), call)
    return sorted(found.values(), key=lambda call: sum(written(inner.module) for inner in inside(call)))


def written(module: nn.Module) -> bool:
    """Whether a module has code that is not PyTorch's own."""
    if isinstance(module, Objective | torch.jit.ScriptModule):
        return False
    plain = type(module).forward is nn.Sequential.forward and "forward" not in vars(module)
    return not is_stock(module) and not (plain and not hooked(module))


def inside(call: Call) -> list[Call]:
    """The calls made inside a call, at any depth."""
    return [found for inner in call.inner for found in (inner, *inside(inner))]


def work(call: Call) -> int:
    """What one forward pass of a call costs, about: entries read, written and multiplied, and a constant for every call."""
    return _own(call) + sum(_own(inner) for inner in inside(call))


def _own(call: Call) -> int:
    outputs = [] if call.output is None else call.output.leaves
    written_out = sum(leaf.numel() for leaf in outputs)
    weights = [p for p in call.module.parameters(recurse=False) if p.dim() > 1]
    products = sum(p.numel() * max(1, written_out // max(1, p.shape[0])) for p in weights)
    return _OVERHEAD + written_out + sum(leaf.numel() for leaf in call.arguments.leaves) + products
