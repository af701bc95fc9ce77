"""The recorded graph behind some outputs: the leaves it reaches and the hand-written gradients in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from gradcheck_suite.probes.graph import custom_function

_MOST_NODES: Final = 200_000


@dataclass(slots=True)
class Survey:
    """What a walk over a graph found.

    ``leaves`` are the tensors whose gradient it accumulates; ``functions`` the custom ``autograd.Function`` classes in it, each
    once, nearest to the output first; ``hooked`` says that a module's backward hooks or a tensor's hooks take part;
    ``reentrant`` that a checkpointed region hides part of the graph.
    """

    leaves: list[torch.Tensor] = field(default_factory=list)
    functions: list[type[Any]] = field(default_factory=list)
    hooked: bool = False
    reentrant: bool = False

    @property
    def handwritten(self) -> bool:
        """Whether some gradient in the graph was written by hand rather than by PyTorch."""
        return self.hooked or bool(self.functions)


def survey(outputs: Sequence[torch.Tensor]) -> Survey:
    """Walk the graph behind ``outputs`` once."""
    found = Survey()
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn for output in outputs if output.grad_fn is not None]
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        function = custom_function(node)
        if function is not None:
            _note_function(found, function)
        elif type(node).__name__ == "AccumulateGrad":
            found.leaves.append(node.variable)
            found.hooked = found.hooked or bool(node.variable._backward_hooks)
        waiting.extend(following for following, _ in node.next_functions if following is not None)
    return found


def generated(function: type[Any]) -> bool:
    """Whether ``torch.library`` made this class for an operation with a registered gradient."""
    return function.__module__.startswith("torch.") and function.__name__.startswith("GeneratedBackwardFor_")


def _note_function(found: Survey, function: type[Any]) -> None:
    if function.__module__.startswith("torch.nn.modules"):
        found.hooked = True
    elif function.__module__ == "torch.utils.checkpoint":
        found.reentrant = True
    elif function not in found.functions and (not function.__module__.startswith("torch.") or generated(function)):
        found.functions.append(function)


def uses(outputs: Sequence[torch.Tensor]) -> dict[int, int]:
    """How many edges of the graph lead to each leaf, by identity: 1 where a parameter is used once."""
    counts: dict[int, int] = {}
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn for output in outputs if output.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            if type(following).__name__ == "AccumulateGrad":
                counts[id(following.variable)] = counts.get(id(following.variable), 0) + 1
            elif following is not None:
                waiting.append(following)
    return counts
