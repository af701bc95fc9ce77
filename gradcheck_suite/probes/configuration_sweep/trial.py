"""Trials: a draft made into a call, run, and its gradient compared with differences."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch

from gradcheck_suite.captures.directional_derivative import Place
from gradcheck_suite.probes.configuration_sweep.across import across, special
from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft, Inapplicable, draft_of
from gradcheck_suite.probes.configuration_sweep.judgement import Outputs, alike, defined, judged, spread, stops
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.comparison import (
    AGREES,
    ALONE,
    DISAGREES,
    IN_PLACE,
    NOTHING,
    glance,
    observed,
)
from gradcheck_suite.probes.directional_derivative.directions import Direction, direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import examine
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, PARAMETER, Linearization, linearize
from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.places import localised, place_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.probes.state import preserved

REFUSED, UNCHANGED = "refused", "unchanged"
_SPECIAL: Final = ("zeros", "duplicates and ties")
_OURS: Final = str(Path(__file__).parent.parent)
_TURN: Final = {"shape": 0, "duplicates and ties": 2, "layout": 2}


@dataclass(slots=True)
class Trial:
    """What came of one configuration.

    ``status`` is one of ``agrees``, ``disagrees``, ``kink``, ``noise``, ``nothing`` (nothing could be compared), ``refused`` (the
    module does not accept it: ``why``) or ``unchanged`` (there was nothing to change). ``handwritten`` says that a hand-written
    gradient took part, ``outputs`` are the module's own, detached; ``arrived`` the size of each parameter's share of the directional
    derivative, by name, where a gradient arrived; ``stopped`` what stops gradients inside and ``place``, both where it disagrees.
    """

    status: str
    why: str = ""
    handwritten: bool = False
    outputs: Outputs = ()
    arrived: dict[str, float] = field(default_factory=dict)
    stopped: frozenset[str] = frozenset()
    place: Place | None = None


class Trials:
    """Trials of one module call; what a trial does to the module is undone after it.

    ``runs`` counts the forward passes spent.
    """

    def __init__(self, call: Call, seed: int) -> None:
        self.recorded, self._seed = call, seed
        self._look = IN_PLACE if call.inner else ALONE
        self.runs = 0
        self._without_data = False
        self._first: Outputs | None = None
        self._stopped: frozenset[str] | None = None

    def base(self) -> Trial:
        """The call as it is. Where it only agrees without moving inputs that carry no gradient, these stay still in all trials."""
        found = self.run([])
        if found.status not in (AGREES, NOTHING):
            self._without_data = True
            fewer = self.run([])
            self._without_data = fewer.status == AGREES
            found = fewer if self._without_data else found
        return found

    def draft(self) -> Draft:
        """The recorded call, to be changed."""
        draft = draft_of(self.recorded)
        if self._without_data:
            draft.moving = [moves and carried for moves, carried in zip(draft.moving, draft.carried, strict=True)]
        return draft

    def run(self, changes: list[Change]) -> Trial:
        """One configuration: the recorded call with some changes."""
        draft = self.changed(changes)
        if isinstance(draft, Trial):
            return draft
        with preserved(self.recorded.module), draft.applied():
            trial = self.tried(draft, changes)
        meant = trial.status == DISAGREES and any(change.rewrites for change in changes)
        if meant and not trial.stopped <= self._stops_before():
            return Trial(NOTHING, "the setting stops gradients")
        return trial

    def changed(self, changes: list[Change]) -> Draft | Trial:
        """The draft with the changes made, or the trial that says why they cannot be."""
        draft = self.draft()
        try:
            with torch.no_grad():
                for change in sorted(changes, key=lambda change: _TURN.get(change.axis, 1)):
                    change.apply(draft)
        except Inapplicable:
            return Trial(UNCHANGED)
        except FAILURES as error:
            return Trial(UNCHANGED, told(error))
        return draft

    def tried(self, draft: Draft, changes: list[Change]) -> Trial:
        """Run the call as the draft says, and compare."""
        resets, every = Resets(draft.module), Generators(sources(draft.module.modules()))
        states = every.read()
        around = Surroundings(Draws(self._seed), resets, every)
        try:
            unit = Varied(draft, around)
            with torch.enable_grad():
                outputs = unit.run()
        except Inapplicable:
            return Trial(UNCHANGED)
        except FAILURES as error:
            return Trial(REFUSED, told(error))
        self.runs += 1
        around.generators, before = every.moved_since(states)
        unit.call.state = before if around.generators.sources else None
        resets.observe()
        try:
            why = self._unfit(draft, unit)
            self._first = unit.own if self._first is None else self._first
            return Trial(REFUSED, why) if why else self._compared(unit, outputs, changes)
        except FAILURES as error:
            return Trial(REFUSED, f"afterwards it {told(error)}")
        finally:
            unit.close()
            unit.reset()
            self.runs += unit.runs + 1

    def _compared(self, unit: Varied, outputs: list[torch.Tensor], changes: list[Change]) -> Trial:
        draws, own = unit.around.draws, unit.own
        linear = linearize(unit, draws, outputs=outputs)
        along = direction(unit, linear, draws)
        trial = Trial(NOTHING, handwritten=linear.survey.handwritten, outputs=own, arrived=_arrived(unit, linear, along))
        if not linear.live or not unit.tensors:
            return trial
        if glance(unit, linear, along, self._look) is not None:
            trial.status = AGREES
            return trial
        found = examine(unit, draws, self._look, first=linear)
        # PyTorch's own choice at a kink stands, also where kinks cancel: relu(x) - relu(-x) has gradient 0 at 0
        if special(found) and linear.survey.handwritten and any(change.axis in _SPECIAL for change in changes):
            found = across(unit, draws) or found
        trial.status = found.status
        if found.status == DISAGREES:
            place = place_of(unit, found, (unit.call.module, unit.call.path, "configured"))
            place = localised(unit, found, place, draws, self._look)
            trial.status = judged(unit, found, place, changes)
            trial.stopped = stops(found.outcome.seen.stopped)
            trial.place = place if trial.status == DISAGREES else None
        return trial

    def _unfit(self, draft: Draft, unit: Varied) -> str:
        """Why the outputs are no ground for a comparison, or ``""``."""
        if not defined(unit.own, self._first):
            return "the output is not finite"
        if spread(draft, unit.own, self._first):
            return "the axis of length one is spread over the length it had"
        if draft.slices and draft.arranged:
            return "an axis in front and entries tied together"
        if draft.slices:
            parts = [self._plain(replace(draft, leaves=list(leaves), slices=[])) for leaves in draft.slices]
            if not alike(unit.own, parts):
                return "the outputs for an axis in front are not those for its slices"
        if draft.sliced and (self._first is None or not alike(tuple(value[:1] for value in self._first if value.dim()), [unit.own])):
            return "the outputs for a slice are not the slice of the outputs"
        return ""

    def _plain(self, draft: Draft) -> Outputs:
        """The outputs of a draft, for comparison with others."""
        around = Surroundings(Draws(self._seed), Resets(draft.module), Generators([]))
        unit = Varied(draft, around)
        self.runs += 1
        with preserved(draft.module), torch.no_grad():
            unit.run()
        return unit.own

    def _stops_before(self) -> frozenset[str]:
        """What stops gradients in the call as it is."""
        if self._stopped is None:
            draft = self.draft()
            around = Surroundings(Draws(self._seed), Resets(draft.module), Generators([]))
            with preserved(draft.module), torch.enable_grad():
                self._stopped = stops(observed(Varied(draft, around)).stopped)
        return self._stopped


def _arrived(unit: Varied, linear: Linearization, along: Direction) -> dict[str, float]:
    found, names = {}, unit.names()
    for position, step in zip(along.positions, along.steps, strict=True):
        gradient = linear.gradients[position]
        if unit.roles[position] == PARAMETER and gradient is not None:
            found[names[position]] = float(torch.linalg.vector_norm(gradient)) * step
    return found


def told(error: Exception) -> str:
    """An exception of the user's code, or of PyTorch called by it, in words; one of ours is raised again."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        raise error
    return f"raises {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
