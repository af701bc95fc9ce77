"""Context of the call: where the whole model disagrees and every unit agrees alone, which call goes wrong in its place.

Every leaf call's inputs and outputs are given aliases, so that one backward pass shows the cotangent that reaches the call
and the gradient that the call sends back, and each can be held against differences of that call alone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.comparison import ALONE, DISAGREES, compare
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, linearize, masked
from gradcheck_suite.probes.directional_derivative.graph import survey, uses
from gradcheck_suite.probes.directional_derivative.interception import Proceed, intercepted
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.trees import Tree
from gradcheck_suite.probes.directional_derivative.units import ModuleCall, Surroundings


@dataclass(slots=True)
class InPlace:
    """What a backward pass in context showed of one leaf call."""

    call: Call
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    cotangents: dict[int, torch.Tensor] = field(default_factory=dict)
    copies: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def wrote(self) -> bool:
        """Whether the call's backward pass changed the cotangent it was given."""
        return any(not torch.equal(torch.nan_to_num(self.cotangents[k]), torch.nan_to_num(self.copies[k])) for k in self.copies)


@dataclass(slots=True)
class Culprit:
    """A call that goes wrong in its place, why, and the comparison where there is one."""

    call: Call
    why: str
    unit: ModuleCall | None = None
    found: Examination | None = None


def leaves_of(calls: Sequence[Call]) -> list[Call]:
    """The leaf calls among these and inside them, in order of execution."""
    return [leaf for call in calls for leaf in (leaves_of(call.inner) if call.inner else [call])]


def culprits(experiment: Experiment, inside: Sequence[Call], around: Surroundings) -> Iterator[Culprit]:
    """Leaf calls inside an experiment that go wrong there: the backward pass writes into its cotangent, or misreads it, or
    reads what another call has changed."""
    seen, gradients = _observed(experiment, leaves_of(inside), around.draws)
    times = Counter(id(item.call.module) for item in seen)
    for item in seen:
        if item.wrote:
            yield Culprit(item.call, "its backward pass writes into the gradient it is given, which others read as well")
    for item in seen:
        if item.wrote or not item.cotangents:
            continue
        try:
            culprit = _held_against_differences(item, gradients, times, around)
        except FAILURES:
            continue
        if culprit is not None:
            yield culprit


def _observed(experiment: Experiment, calls: list[Call], draws: Draws) -> tuple[list[InPlace], dict[int, torch.Tensor | None]]:
    watch = _Watch(calls)
    with ExitStack() as stack, torch.enable_grad():
        stack.enter_context(intercepted(watch.modules, watch.handle))
        outputs = [output for output in experiment.run() if output.requires_grad]
        watch.recording = False
        us = [masked(draws.like(output), output).clone() for output in outputs]
        parameters = [p for call in calls for p in call.module.parameters() if p.requires_grad]
        wanted = [tensor for item in watch.seen for tensor in item.inputs if tensor.requires_grad] + list(dict.fromkeys(parameters))
        if survey(outputs).reentrant or not wanted or not outputs:
            return [], {}
        once = uses(outputs)
        found = torch.autograd.grad(outputs, wanted, us, allow_unused=True)
    experiment.reset()
    pairs = zip(wanted, found, strict=True)
    return watch.seen, {id(tensor): gradient for tensor, gradient in pairs if once.get(id(tensor), 1) == 1}


class _Watch:
    """Handler that puts aliases around leaf calls and keeps the cotangents that reach them."""

    def __init__(self, calls: list[Call]) -> None:
        self.seen: list[InPlace] = []
        self.recording = True
        self._calls = calls
        self.modules = list({id(call.module): call.module for call in calls if not call.inner}.values())

    def handle(self, proceed: Proceed, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = Tree((*args, *kwargs.values()))
        inputs = [leaf.view_as(leaf) for leaf in given.leaves]
        items = given.build(inputs)
        output = Tree(proceed(*items[: len(args)], **dict(zip(kwargs, items[len(args) :], strict=True))))
        outputs = [leaf.view_as(leaf) for leaf in output.leaves]
        if self.recording and len(self.seen) < len(self._calls) and self._calls[len(self.seen)].module is module:
            item = InPlace(self._calls[len(self.seen)], inputs, outputs)
            self.seen.append(item)
            for index, leaf in enumerate(outputs):
                if leaf.requires_grad:
                    leaf.register_hook(_keeper(item, index))  # type: ignore[no-untyped-call]
        return output.build(outputs)


def _keeper(item: InPlace, index: int) -> Any:
    def keep(gradient: torch.Tensor) -> None:
        item.cotangents[index], item.copies[index] = gradient, gradient.clone()

    return keep


def _held_against_differences(
    item: InPlace, gradients: dict[int, torch.Tensor | None], times: Counter[int], around: Surroundings
) -> Culprit | None:
    unit = ModuleCall(item.call, around)
    alone = linearize(unit, around.draws)
    pairs = zip(alone.live, alone.cotangents, strict=True)
    us = [item.copies[index] if index in item.copies else torch.zeros_like(u) for index, u in pairs]
    shared = times[id(item.call.module)] > 1
    sent = [gradients.get(id(tensor)) for tensor in item.inputs]
    sent += [None if shared else gradients.get(id(tensor)) for tensor in unit.tensors[len(unit.inputs) :]]
    linear = Linearization(live=alone.live, cut=alone.cut, cotangents=us, base=alone.base, gradients=sent, survey=alone.survey)
    positions = [i for i, tensor in enumerate(item.inputs) if tensor.requires_grad]
    positions += [] if shared else [i for i in range(len(unit.inputs), len(unit.tensors)) if id(unit.tensors[i]) in gradients]
    along = direction(unit, linear, around.draws, positions)
    outcome = compare(unit, linear, along, ALONE)
    if not positions or outcome.status != DISAGREES:
        return None
    found = Examination(outcome, linear, along, confirmed=1)
    if shared:
        return Culprit(item.call, "state shared between several calls of the module", unit, found)
    as_given = linearize(unit, around.draws, [item.cotangents.get(index, u) for index, u in zip(alone.live, us, strict=True)])
    agrees = all(_close(a, b) for a, b in zip(as_given.gradients, linear.gradients, strict=True) if a is not None and b is not None)
    strange = any(not u.is_contiguous() or 0 in u.stride() for u in item.cotangents.values() if u.numel() > 1)
    if agrees and strange:
        return Culprit(item.call, "its backward pass misreads a gradient that is expanded or not contiguous", unit, found)
    return Culprit(item.call, "what it kept for its backward pass is changed before that runs", unit, found)


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(torch.allclose(first, second, rtol=1e-9, atol=0.0))
