"""Comparisons of one realisation in its own precision."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.captures.shipped_precision import PrecisionPlace, ShippedPrecision
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes import declared
from gradcheck_suite.probes.configuration_sweep.draft import Draft, draft_of
from gradcheck_suite.probes.configuration_sweep.recording import Recording
from gradcheck_suite.probes.configuration_sweep.selection import distinct, swept, work
from gradcheck_suite.probes.configuration_sweep.trial import told
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, compare
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Linearization, NotRepeatable, linearize
from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source
from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.places import kind_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.signatures import difference, signature
from gradcheck_suite.probes.directional_derivative.twin import widened
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.probes.shipped_precision.draws import Keeping
from gradcheck_suite.probes.shipped_precision.observing import Observed, observed
from gradcheck_suite.probes.shipped_precision.units import Twin
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup

_COPIES: Final = 3
_MOST_WORK: Final = 200_000_000
_RUNS: Final = 16


class Shipped:
    """One realisation in its own precision."""

    def __init__(self, setup: Setup, budget: Budget, seed: int) -> None:
        self._setup, self._seed = setup, derive(seed, "shipped_precision")
        self._everything, self._intended = budget.second_order, dict(setup.intended)

    def run(self) -> ShippedPrecision:
        """Record, observe one pass, then compare call by call, what is inside before what contains it."""
        recording = Recording(self._setup, self._seed)
        places = []
        with recording.made() as calls:
            seen = observed(recording.whole, calls, Draws(self._seed))
            numbers = {id(call): number for number, call in enumerate(calls)}
            left = _MOST_WORK
            for call in distinct(calls) if self._everything else swept(calls):
                cost = _RUNS * work(call)
                if cost <= left or not call.inner:
                    left -= cost
                    places.append(self._place(call, seen, numbers[id(call)]))
        dtypes = {str(t.dtype).removeprefix("torch.") for t in recording.whole.tensors}
        return ShippedPrecision(places=tuple(places), islands=tuple(seen.islands), dtypes=tuple(sorted(dtypes)))

    def _place(self, call: Call, seen: Observed, number: int) -> PrecisionPlace:
        made = PrecisionPlace(module=call.path, kind=kind_of(call.module), status="nothing")
        try:
            with preserved(call.module):
                found = Comparison(call, seen, number, derive(self._seed, call.path)).made(made)
                return replace(found, intended=declared.reason(self._intended, call.path, found.function))
        except NotRepeatable as error:
            return replace(made, status="not replayed", why=str(error))
        except FAILURES as error:
            return replace(made, status="not replayed", why=told(error))


class Comparison:
    """One call in its own precision, its twin, and copies of the twin that round."""

    def __init__(self, call: Call, seen: Observed, number: int, seed: int) -> None:
        self._call, self._seed = call, seed
        self._autocast, self._cotangents = seen.autocast[number], seen.cotangents[number]
        self._draws = Draws(seed)

    def made(self, place: PrecisionPlace) -> PrecisionPlace:
        """The comparison, as facts."""
        with self._autocast.region():
            own, kept, choices = self._own()
        if own is None or kept.narrowest == torch.float64:
            return replace(place, why="it computes in float64" if own is not None else "no gradient reaches it")
        functions = own.survey.functions
        roundoff = torch.finfo(kept.narrowest).eps / 2
        place = replace(place, dtype=str(kept.narrowest).removeprefix("torch."), roundoff=roundoff)
        if len(functions) == 1:
            place = replace(place, function=function_name(functions[0]), source=function_source(functions[0]))
        widened(self._call.module, apart=True)
        torch.set_default_dtype(torch.float64)
        twin = self._twin(kept)
        exact = linearize(twin, self._draws, [u.double() for u in own.cotangents])
        if compare(twin, exact, direction(twin, exact, self._draws), ALONE).status != AGREES:
            return replace(place, status="mathematics", why="the twin's gradient does not agree with differences")
        return self._judged(place, twin, (own, exact), roundoff, choices)

    def _own(self) -> tuple[Linearization | None, Keeping, Any]:
        """The gradient in the call's own precision, at the cotangent that reaches it."""
        unit = Varied(self._draft(), self._around())
        kept = Keeping()
        with kept, torch.enable_grad():
            outputs = unit.run()
        unit.reset()
        us = [self._cotangents.get(index, torch.zeros_like(value)) for index, value in enumerate(outputs) if value.requires_grad]
        if not unit.tensors or not any(bool(u.any()) for u in us):
            return None, kept, None
        drawn = Keeping()
        with drawn:
            linear = linearize(unit, self._draws, us)
        kept.drawn = drawn.drawn
        choices = signature(lambda: unit.outputs(graph=True))
        return linear, kept, choices

    def _twin(self, kept: Keeping) -> Twin:
        return Twin(self._draft(), self._around(), kept.drawn)

    def _draft(self) -> Draft:
        draft = draft_of(self._call)
        draft.moving = list(draft.carried)
        return draft

    def _around(self) -> Surroundings:
        module: nn.Module = self._call.module
        made = Surroundings(self._draws, Resets(module), Generators(sources(module.modules())))
        made.resets.observe()
        return made

    def _judged(
        self, place: PrecisionPlace, twin: Twin, both: tuple[Linearization, Linearization], roundoff: float, choices: Any
    ) -> PrecisionPlace:
        own, exact = both
        spreads = [_norms(exact, copy) for copy in self._copies(twin, exact, roundoff)]
        found = _norms(exact, own)
        explained = {name: max((spread[name] for spread in spreads), default=math.inf) for name in found}
        if not found:
            return place
        worst = max(found, key=lambda index: found[index] / max(explained[index], roundoff))
        place = replace(place, status="compared", tensor=twin.names()[worst], role=twin.roles[worst], difference=found[worst],
                        spread=explained[worst])
        if found[worst] > 8 * max(explained[worst], roundoff) and self._other_branch(twin, choices):
            return replace(place, status="choices", why="the two precisions take different branches")
        return place

    def _copies(self, twin: Twin, exact: Linearization, roundoff: float) -> Iterator[Linearization]:
        twin.roundoff = roundoff
        for number in range(_COPIES):
            twin.round = number + 1
            with twin.rounded():
                us = [u * (1 + roundoff * self._draws.like(u)) for u in exact.cotangents]
                yield linearize(twin, self._draws, us)
        twin.roundoff = 0.0

    def _other_branch(self, twin: Twin, choices: Any) -> bool:
        with suppress(*FAILURES):
            return difference(choices, lambda: twin.outputs(graph=True)) is not None
        return True


def _norms(exact: Linearization, other: Linearization) -> dict[int, float]:
    """Relative difference of each gradient from the exact one; only where that is finite and not zero."""
    found: dict[int, float] = {}
    for index, (right, given) in enumerate(_pairs(exact, other)):
        size = float(torch.linalg.vector_norm(right)) if right is not None else 0.0
        if right is None or size == 0.0 or not math.isfinite(size):
            continue
        gap = torch.linalg.vector_norm(right - (torch.zeros_like(right) if given is None else given.to(right.dtype)))
        found[index] = float(gap) / size if bool(torch.isfinite(gap)) else math.inf
    return found


def _pairs(exact: Linearization, other: Linearization) -> Sequence[tuple[torch.Tensor | None, torch.Tensor | None]]:
    if len(exact.gradients) != len(other.gradients):
        raise NotRepeatable("a repeated call has other inputs and parameters")
    return list(zip(exact.gradients, other.gradients, strict=True))
