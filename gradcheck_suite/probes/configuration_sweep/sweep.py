"""The sweep on one realisation: which modules, how many configurations of each, and what came of them."""

from collections import Counter
from dataclasses import replace
from typing import Final

from gradcheck_suite.captures.configuration_sweep import AxisCount, ConfigurationSweep, SweptModule, WrongConfiguration
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes import declared
from gradcheck_suite.probes.configuration_sweep import settings, shapes
from gradcheck_suite.probes.configuration_sweep.blame import innermost, with_cut
from gradcheck_suite.probes.configuration_sweep.changes import AXES, changes
from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft
from gradcheck_suite.probes.configuration_sweep.pairs import wrong_pair
from gradcheck_suite.probes.configuration_sweep.recording import Recording
from gradcheck_suite.probes.configuration_sweep.selection import swept, work
from gradcheck_suite.probes.configuration_sweep.trial import REFUSED, UNCHANGED, Trial, Trials
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, DISAGREES, KINK, NOISE, NOTHING
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.places import kind_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.subject import Setup

_RUNS: Final = 4  # forward passes of one configuration that agrees, its backward pass counted as one
_ALLOWED: Final = 60_000_000  # work that is always allowed, in the unit of ``selection.work``
_RATIO: Final = 12  # and as many forward passes of the whole model
_FEWEST: Final = 6
_HANDWRITTEN: Final = 24
_MOST_WRONG: Final = 2
_MOST_REFUSED: Final = 6

Outcome = tuple[list[Change], Trial]


class Sweep:
    """One realisation that is swept."""

    def __init__(self, setup: Setup, budget: Budget, seed: int) -> None:
        self._setup = setup
        self._limit, self._seed = budget.sweep_calls, derive(seed, "configuration_sweep")
        self._pairs = budget.sweep_pairs
        self._intended = dict(setup.intended)

    def run(self) -> ConfigurationSweep:
        """Record the model's own calls, then sweep the modules that somebody wrote."""
        with Recording(self._setup, self._seed).made() as calls:
            chosen = swept(calls)
            if not chosen:
                raise NotApplicable("every module is one of PyTorch's own")
            left = _ALLOWED + _RATIO * sum(work(call) for call in calls if not call.inner)
            found = []
            for number, call in enumerate(chosen):
                limit = min(self._limit, left // (len(chosen) - number) // (_RUNS * work(call)))
                module = self._module(call, limit)
                left -= module.calls * work(call)
                found.append(module)
            stock = {id(call.module) for call in calls} - {id(call.module) for call in chosen}
        return ConfigurationSweep(modules=tuple(found), stock=len(stock))

    def _module(self, call: Call, limit: int) -> SweptModule:
        made = SweptModule(module=call.path, kind=kind_of(call.module), handwritten=False)
        if call.inner and limit < _FEWEST:
            return replace(made, left_out="too large for the budget; the modules inside it are swept")
        trials = Trials(call, derive(self._seed, call.path))
        base = trials.base()
        made = replace(made, handwritten=base.handwritten, calls=trials.runs)
        if base.status != AGREES:
            return replace(made, left_out=_BASE.get(base.status, base.why))
        limit = max(limit, min(self._limit, _HANDWRITTEN if base.handwritten else _FEWEST))
        draft, draws = trials.draft(), Draws(derive(self._seed, call.path, "values"))
        singles = changes(draft, draws)
        outcomes = self._one_by_one(call, trials, base, singles[:limit])
        if limit >= self._limit // 2 and not _any_wrong(outcomes):
            outcomes += _directed(trials, draft, draws, outcomes)
        if limit > len(singles) and not _any_wrong(outcomes):
            outcomes += self._drawn(trials, outcomes)
        return replace(made, axes=_counted(outcomes), planned=len(singles), calls=trials.runs, wrong=self._wrong(call, trials, outcomes))

    def _one_by_one(self, call: Call, trials: Trials, base: Trial, singles: list[Change]) -> list[Outcome]:
        """Single changes, until two kinds of them are found wrong or what they cost is spent."""
        outcomes: list[Outcome] = []
        wrong: set[str] = set()
        for change in singles:
            if change.axis in wrong:
                continue
            trial = with_cut(call, base, trials.run([change]), change)
            outcomes.append(([change], trial))
            if trial.status == DISAGREES:
                wrong.add(change.axis)
            if len(wrong) >= _MOST_WRONG or trials.runs > 3 * _RUNS * (len(singles) + _FEWEST):
                break
        return outcomes

    def _drawn(self, trials: Trials, outcomes: list[Outcome]) -> list[Outcome]:
        """Pairs of changes drawn at random."""
        usable = [made[0] for made, trial in outcomes if len(made) == 1 and trial.status != UNCHANGED]
        return wrong_pair(usable, trials.run, self._pairs, self._seed)

    def _wrong(self, call: Call, trials: Trials, outcomes: list[Outcome]) -> tuple[WrongConfiguration, ...]:
        """One entry for each place; the simplest configuration first, the others in words."""
        found: dict[tuple[str, str | None], WrongConfiguration] = {}
        for made, trial in outcomes:
            if trial.status != DISAGREES or trial.place is None:
                continue
            place = innermost(trials, made, trial.place) if call.inner else trial.place
            key = (place.module, place.function)
            words = tuple((change.axis, change.text) for change in made)
            if key in found:
                found[key] = replace(found[key], also=(*found[key].also, " and ".join(text for _, text in words)))
            else:
                reason = declared.reason(self._intended, place.module, place.function, call.path)
                found[key] = WrongConfiguration(changes=words, place=place, intended=reason)
        return tuple(found.values())


def _directed(trials: Trials, draft: Draft, draws: Draws, singles: list[Outcome]) -> list[Outcome]:
    """Settings that were refused, with other lengths that they may call for."""
    outcomes: list[Outcome] = []
    refused = [made[0] for made, trial in singles if trial.status == REFUSED and made[0].axis == settings.SETTING]
    for first in refused[:_MOST_REFUSED]:
        for second in shapes.features(draft, draws):
            outcomes.append(([first, second], trials.run([first, second])))
            if outcomes[-1][1].status == DISAGREES:
                return outcomes
    return outcomes


def _any_wrong(outcomes: list[Outcome]) -> bool:
    return any(trial.status == DISAGREES for _, trial in outcomes)


_BASE: Final = {
    DISAGREES: "the gradient is not the derivative as the model calls it; nothing else was tried",
    KINK: "as the model calls it the point lies on a kink", NOISE: "as the model calls it differences cannot decide",
    NOTHING: "nothing can be compared",
}


def _counted(outcomes: list[Outcome]) -> tuple[AxisCount, ...]:
    counts: dict[str, Counter[str]] = {axis: Counter() for axis in (*AXES, "two changes")}
    for made, trial in outcomes:
        if trial.status != UNCHANGED:
            counts[made[0].axis if len(made) == 1 else "two changes"][trial.status] += 1
    return tuple(
        AxisCount(axis=axis, tried=sum(count.values()), agrees=count[AGREES], wrong=count[DISAGREES], undecided=count[KINK] + count[NOISE],
                  refused=count[REFUSED] + count[NOTHING])
        for axis, count in counts.items() if count)
