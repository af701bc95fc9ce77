"""The second derivatives of one realisation, module call by module call."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from gradcheck_suite.captures.second_order import SecondOrder, SecondOrderPlace
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes import declared
from gradcheck_suite.probes.configuration_sweep import usage, values
from gradcheck_suite.probes.configuration_sweep.changes import argument_words
from gradcheck_suite.probes.configuration_sweep.draft import Change
from gradcheck_suite.probes.configuration_sweep.recording import Recording
from gradcheck_suite.probes.configuration_sweep.selection import written
from gradcheck_suite.probes.configuration_sweep.trial import Trial
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, DISAGREES
from gradcheck_suite.probes.directional_derivative.likeness import Likeness
from gradcheck_suite.probes.directional_derivative.places import kind_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.second_order.trials import SecondTrials
from gradcheck_suite.subject import Setup

_UNDECIDED: Final = ("kink", "noise")


class Survey:
    """One realisation whose second derivatives are compared."""

    def __init__(self, setup: Setup, budget: Budget, seed: int) -> None:
        self._setup, self._seed = setup, derive(seed, "second_order")
        self._everything, self._intended = budget.second_order, dict(setup.intended)
        self._functions: dict[int, frozenset[type]] = {}

    def run(self) -> SecondOrder:
        """Record, then compare call by call, what is inside before what contains it."""
        found = []
        with Recording(self._setup, self._seed).made() as calls:
            for call in _distinct(calls):
                place = self._place(call)
                if place is not None:
                    found.append(place)
        if not found:
            raise NotApplicable("no custom Function takes part in the gradient" if not self._everything else "nothing can be compared")
        return SecondOrder(places=tuple(found), everything=self._everything)

    def _place(self, call: Call) -> SecondOrderPlace | None:
        if not (self._everything and not call.inner) and not written(call.module):
            return None
        trials = SecondTrials(call, derive(self._seed, call.path))
        own = frozenset(trials.functions())
        self._functions[id(call)] = own
        if own <= frozenset().union(*(self._functions.get(id(inner), frozenset()) for inner in call.inner)) and (own or call.inner):
            return None  # all of it belongs to modules inside
        if not own and not self._everything:
            return None
        base = trials.base()
        made = SecondOrderPlace(module=call.path, kind=kind_of(call.module), status=base.status, why=base.why,
                                place=base.place, intended=self._reason(call, base))
        return self._varied(call, trials, made) if base.status == AGREES and own else made

    def _varied(self, call: Call, trials: SecondTrials, made: SecondOrderPlace) -> SecondOrderPlace:
        """A place that agrees as it is, in configurations in which second derivatives have been wrong: zeros, ties, the other mode."""
        draft = trials.draft()
        names = argument_words(draft)
        changes: list[Change] = [*values.zeros(draft, names), *values.ties(draft, names), *usage.modes(draft)]
        tried = 1
        for change in changes:
            trial = trials.run([change])
            tried += trial.status in (AGREES, DISAGREES, *_UNDECIDED)
            if trial.status == DISAGREES and trial.place is not None:
                return replace(made, status=DISAGREES, tried=tried, place=trial.place, changes=((change.axis, change.text),),
                               intended=self._reason(call, trial))
        return replace(made, tried=tried)

    def _reason(self, call: Call, trial: Trial) -> str:
        return declared.reason(self._intended, call.path, trial.place.function if trial.place is not None else None)


def _distinct(calls: list[Call]) -> list[Call]:
    """One of all equal calls, in the order in which they end."""
    likeness, found = Likeness(), dict[Hashable, Call]()
    for call in calls:
        if call.output is not None and call.differentiable:
            found.setdefault(likeness.key(call), call)
    return sorted(found.values(), key=lambda call: -call.path.count(".") if call.path else 1)
