"""Context of the call: where the whole model disagrees and every unit agrees alone, which call goes wrong in its place.

Every call's inputs and outputs are given aliases, so that one backward pass shows the cotangent that reaches the call
and the gradient that the call sends back, and each can be held against differences of that call alone.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.comparison import ALONE, DISAGREES, compare
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, linearize
from gradcheck_suite.probes.directional_derivative.graph import survey, uses
from gradcheck_suite.probes.directional_derivative.interception import Proceed, intercepted
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.trees import Tree
from gradcheck_suite.probes.directional_derivative.units import ModuleCall, Surroundings


@dataclass(slots=True)
class InPlace:
    """What a run and its backward pass in context showed of one call.

    ``handed`` are the values it returned, with copies made when it did; ``cotangents`` what reached its outputs, likewise.
    """

    call: Call
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    handed: list[tuple[torch.Tensor, torch.Tensor]]
    cotangents: dict[int, torch.Tensor] = field(default_factory=dict)
    copies: dict[int, torch.Tensor] = field(default_factory=dict)
    edited: bool = False

    @property
    def wrote(self) -> bool:
        """Whether the call's backward pass changed the cotangent it was given."""
        return any(not _same(self.cotangents[k], self.copies[k]) for k in self.copies)


@dataclass(slots=True)
class Culprit:
    """A call that goes wrong in its place and why; ``own``: by its own fault, not by what its surroundings do to it."""

    call: Call
    why: str
    own: bool = True
    unit: ModuleCall | None = None
    found: Examination | None = None


def nested(calls: Sequence[Call]) -> list[Call]:
    """These calls and those inside them, in order of their beginning."""
    return [each for call in calls for each in (call, *nested(call.inner))]


def culprits(experiment: Experiment, inside: Sequence[Call], around: Surroundings) -> list[Culprit]:
    """Calls inside an experiment that go wrong there and hold no other such call.

    Their backward pass writes into its cotangent, or misreads it, or reads what another call or their surroundings changed.
    """
    seen, gradients = _observed(experiment, nested(inside), around.draws)
    times = Counter(id(item.call.module) for item in seen)
    found: list[Culprit] = []
    for item in reversed(seen):
        if any(culprit.call in nested([item.call]) for culprit in found) or not item.cotangents:
            continue
        if item.wrote and not item.call.inner:
            found.append(Culprit(item.call, "its backward pass writes into the gradient it is given, which others read as well"))
            continue
        with suppress(*FAILURES):
            culprit = _held_against_differences(item, gradients, times, around)
            if culprit is not None:
                found.append(culprit)
    writers = [culprit for culprit in found if culprit.unit is None]
    return writers or found[::-1]


def _observed(experiment: Experiment, calls: list[Call], draws: Draws) -> tuple[list[InPlace], dict[int, torch.Tensor | None]]:
    watch = _Watch(calls)
    with ExitStack() as stack, torch.enable_grad(), experiment.arithmetic():
        stack.enter_context(intercepted(watch.modules, watch.handle))
        outputs = [output for output in experiment.run() if output.requires_grad]
        watch.recording = False
        for item in watch.seen:
            item.edited = any(not _same(now, before) for now, before in item.handed)
        us = [experiment.cotangent(output, draws) for output in outputs]
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
    """Handler that puts aliases around calls and keeps the cotangents that reach them."""

    def __init__(self, calls: list[Call]) -> None:
        self.seen: list[InPlace] = []
        self.recording = True
        self._calls, self._begun = calls, 0
        self.modules = list({id(call.module): call.module for call in calls}.values())

    def handle(self, proceed: Proceed, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begun, self._begun = self._begun, self._begun + 1
        call = self._calls[begun] if begun < len(self._calls) and self._calls[begun].module is module else None
        given = Tree((*args, *kwargs.values()))
        inputs = [leaf.view_as(leaf) for leaf in given.leaves]
        items = given.build(inputs)
        output = Tree(proceed(*items[: len(args)], **dict(zip(kwargs, items[len(args) :], strict=True))))
        outputs = [leaf.view_as(leaf) for leaf in output.leaves]
        if self.recording and call is not None:
            handed = [(leaf.detach(), leaf.detach().clone()) for leaf in outputs]
            item = InPlace(call, inputs, outputs, handed)
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
    own = not around.facts(item.call.module).stock
    if shared:
        return Culprit(item.call, "state shared between several calls of the module", own, unit, found)
    as_given = linearize(unit, around.draws, [item.cotangents.get(index, u) for index, u in zip(alone.live, us, strict=True)])
    agrees = all(_close(a, b) for a, b in zip(as_given.gradients, linear.gradients, strict=True) if a is not None and b is not None)
    if agrees and any(not u.is_contiguous() or 0 in u.stride() for u in item.cotangents.values() if u.numel() > 1):
        return Culprit(item.call, "its backward pass misreads a gradient that is expanded or not contiguous", True, unit, found)
    if agrees:
        return Culprit(item.call, "its backward pass treats a gradient of this size differently", True, unit, found)
    if item.edited:
        return Culprit(item.call, "its output is edited after it was returned, and its backward pass reads it", False, unit, found)
    return Culprit(item.call, "what it kept for its backward pass is no longer what it was", own, unit, found)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(((first == second) | (torch.isnan(first) & torch.isnan(second))).all())


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool(torch.allclose(first, second, rtol=1e-9, atol=0.0))
