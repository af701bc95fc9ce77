"""A module call made as a draft says."""

from typing import Any

import torch

from gradcheck_suite.probes.configuration_sweep.draft import Draft
from gradcheck_suite.probes.directional_derivative.trees import inexact_leaves
from gradcheck_suite.probes.directional_derivative.units import ModuleCall, Surroundings


class Varied(ModuleCall):
    """A call made as a draft says."""

    def __init__(self, draft: Draft, around: Surroundings) -> None:
        call, places = draft.call()
        super().__init__(call, around, data=False)
        self.draft, self._origins = draft, places
        self._copies = True
        moved = [place for place, moves in zip(places, call.carried, strict=True) if moves]
        self.roles[: len(moved)] = [draft.role(place) for place in moved]
        self.own: tuple[torch.Tensor, ...] = ()

    def _once(self) -> Any:
        leaves = [leaf.clone(memory_format=torch.preserve_format) for leaf in self.inputs]
        for index, place in enumerate(self._origins):
            arrange = None if place is None else self.draft.arranged.get(place)
            if arrange is not None:
                leaves[index] = arrange(leaves[index])
        args, kwargs = self.call.invocation(leaves)
        if self.call.state is not None:
            self.around.generators.write(self.call.state)
        outputs = inexact_leaves(self.call.module(*args, **kwargs))
        self.own = tuple(value.detach() for value in outputs)
        if self.draft.disturbed:
            others = [leaf.detach().flip(0) * 0.7 if leaf.dim() else leaf.detach() * 0.7 for leaf in leaves]
            args, kwargs = self.call.invocation(others)
            self.call.module(*args, **kwargs)
        for follow in self.draft.after:
            outputs = follow(outputs)
        return outputs
