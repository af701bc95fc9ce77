"""Investigation of one realisation: record, compare unit by unit and as a whole, and lay the blame."""

from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

import torch
from torch import nn

from gradcheck_suite.captures.directional_derivative import DirectionalDerivative, Place
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.directional_derivative import blame
from gradcheck_suite.probes.directional_derivative.comparison import ALONE, DISAGREES, IN_PLACE, KINK, NOISE, NOTHING
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination, examine
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Linearization, linearize
from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.likeness import Likeness
from gradcheck_suite.probes.directional_derivative.places import localised, of_loss, place_of, unreplayed, wrong_there
from gradcheck_suite.probes.directional_derivative.power import held, iterating
from gradcheck_suite.probes.directional_derivative.record import Call, Recorder
from gradcheck_suite.probes.directional_derivative.stopping import starved
from gradcheck_suite.probes.directional_derivative.trees import exact_paths
from gradcheck_suite.probes.directional_derivative.units import GlueCall, ModuleCall, Surroundings, hooked
from gradcheck_suite.probes.directional_derivative.whole import Whole
from gradcheck_suite.probes.execution import failures
from gradcheck_suite.subject import Setup

WHOLE: Final = "whole"
_MANNERS: Final = ((True, False), (True, True), (False, False), (False, True))  # (plain data is moved too, narrow casts are left out)


class Investigation:
    """One realisation under investigation. ``places`` grows as it goes."""

    def __init__(self, setup: Setup, seed: int, lifted: bool = False) -> None:
        self.lifted = lifted
        self.draws = Draws(derive(seed, "directional_derivative"))
        self.intended = dict(setup.intended)
        self.whole = Whole(setup)
        self.whole.lifted = lifted
        self.calls: list[Call] = []
        self.places: list[Place] = []
        self.units: list[Call] = []
        self.spared: list[Call] = []
        self.evaluations = 0
        self.excused: set[str] = set()
        if not self.whole.tensors:
            raise NotApplicable("nothing to compare: no parameter requires a gradient and no input is a floating tensor")

    def run(self, converted: bool, native: bool = False) -> DirectionalDerivative:
        """Everything, in order: record, whole model, units, blame."""
        outputs = self._recorded()
        root = self.whole.root
        with held(root):
            still = [module for module, _ in iterating(root)]
            self.whole.resets.accept(still)
            self.excused.update(path for module, path in self.whole.paths().values() if module in still)
            with failures("backward"):
                linear = linearize(self.whole, self.draws, outputs=outputs)
            del outputs
            self.around = Surroundings(self.draws, self.whole.resets, self.whole.generators, self.lifted)
            whole, found = self._in_place(linear)
            self._compare_units()
            blame.lay(self, whole, found)
            self._note_starved()
            self._compare_detached_outputs(found)
            self.whole.replace()
            self.evaluations += self.whole.runs
        return DirectionalDerivative(
            places=tuple(self.places), skipped=tuple(dict.fromkeys(self._skipped())), stale=blame.stale(self),
            notes=_arithmetic(native, self.lifted), converted=converted, evaluations=self.evaluations,
        )

    def examine_call(self, call: Call, inside: bool = False, detached: bool = False) -> Place:
        """One recorded call: a leaf alone, or a container's own code.

        ``inside``: a container with its inner calls; ``detached``: also outputs that carry no gradient.
        """
        glue = bool(call.inner) and not inside
        role = "glue" if glue else "inside" if call.inner else "alone"
        place, failure = None, None
        for data, lifted in _MANNERS:
            if (data or not all(call.carried)) and (not lifted or (not self.lifted and (place is None or _narrow(place)))):
                try:
                    place = _better(place, self._examined(call, role, detached, (data, lifted)))
                except FAILURES as error:
                    failure = failure or error
            if place is not None and place.status not in (KINK, NOISE) and (place.lifted or not _narrow(place)):
                break
        if place is None:
            place = unreplayed(call.module, call.path, role, failure or RuntimeError("nothing was run"))
        if place.relevant and not call.differentiable:
            place = replace(place, relevant=False)
        return of_loss(place, call.module)

    def _examined(self, call: Call, role: str, detached: bool, manner: tuple[bool, bool]) -> Place:
        unit = GlueCall(call, self.around, *manner) if role == "glue" else ModuleCall(call, self.around, *manner)
        unit.detached = "always" if detached else "never"
        try:
            found = examine(unit, self.draws, ALONE, own_code=not self.around.facts(call.module).stock)
            place = place_of(unit, found, (call.module, call.path, role))
            if place.status == DISAGREES:
                return localised(unit, found, place, self.draws, ALONE)
            return wrong_there(unit, found, place, self.draws) if found.kinks and found.linear.survey.functions else place
        finally:
            unit.close()
            unit.reset()
            self.evaluations += unit.runs
            self.excused.update({call.path} if unit.untouched else ())

    def outermost(self) -> list[Call]:
        """The recorded calls that were not made inside another."""
        inner = {id(each) for call in self.calls for each in call.inner}
        return [call for call in self.calls if id(call) not in inner]

    def _recorded(self) -> list[torch.Tensor]:
        """The recorded forward pass; made again, with more kept, where it moves generators or changes tensors in place."""
        whole = self.whole
        every = Generators(sources(whole.root.modules()))
        states = every.read()
        recorder = Recorder(whole.paths())
        outputs = self._forward(recorder)
        moved, before = every.moved_since(states)
        if moved.sources or recorder.rewritten():
            every.write(states)
            whole.resets.observe()
            whole.resets.restore()
            whole.generators, whole.state, whole.copies = moved, before, recorder.rewritten()
            recorder = Recorder(whole.paths(), apart=whole.copies, generators=moved)
            outputs = self._forward(recorder)
        whole.resets.observe()
        self.calls = recorder.calls
        for call in self.calls:
            call.versions.clear()
        return outputs

    def _forward(self, recorder: Recorder) -> list[torch.Tensor]:
        try:
            with torch.enable_grad(), self.whole.arithmetic():
                outputs: list[torch.Tensor] = recorder.run(self.whole.run)
            return outputs
        except Exception as error:
            with failures(self.whole.stage, _Failed(recorder.failed)):  # type: ignore[arg-type]
                raise error

    def _in_place(self, linear: Linearization) -> tuple[Place, Examination]:
        with failures("forward"):
            found = examine(self.whole, self.draws, IN_PLACE, first=linear)
        place = place_of(self.whole, found, (self.whole.model, "", WHOLE))
        if not self.lifted and _narrow(place) and place.status in (NOISE, DISAGREES):
            self.whole.lifted = True
            with suppress(*FAILURES):
                other = examine(self.whole, self.draws, IN_PLACE)
                place = _better(place, place_of(self.whole, other, (self.whole.model, "", WHOLE)))
                found = other if place.lifted else found
            self.whole.lifted = place.lifted
        if place.status != DISAGREES:
            self.whole.replace()
        return place, found

    def _compare_detached_outputs(self, found: Examination) -> None:
        """Without a loss every floating output counts: those that move with the tensors and carry no gradient as well."""
        if not found.cut or self.whole.loss is not None:
            return
        self.whole.detached = "always"
        with suppress(*FAILURES):
            other = examine(self.whole, self.draws, IN_PLACE)
            place = place_of(self.whole, other, (self.whole.model, "", "outputs"))
            if place.status == DISAGREES:
                paths = ", ".join(str(index) for index in found.cut)
                note = f"without a loss all floating outputs are compared, and number {paths} moves and carries no gradient"
                reason = self.intended.get("", "")
                self.places.append(replace(place, note=(note, *place.note), intended=reason, blamed=not reason))
        self.whole.detached = "alone"

    def _note_starved(self) -> None:
        """What the stops that explain a disagreement keep from parameters."""
        if any(place.blamed and place.stopped for place in self.places):
            names = tuple(starved(self.whole, self.draws))
            note = (f"no gradient at all reaches {', '.join(names[:6])}" + (", ..." if len(names) > 6 else ""),) if names else ()
            self.places = [replace(place, starved=names, note=(*place.note, *note)) if place.blamed and place.stopped else place
                           for place in self.places]

    def _compare_units(self) -> None:
        likeness, first = Likeness(), dict[Hashable, int]()
        for call in self.calls:
            if call.output is None or _without_code(call):
                continue
            key = likeness.key(call)
            known = first.get(key)
            if known is None:
                first[key] = len(self.places)
                self.units.append(call)
                self.places.append(self.examine_call(call))
            else:
                self.spared.append(call)
                self.places[known] = replace(self.places[known], calls=self.places[known].calls + 1)

    def _skipped(self) -> Iterator[tuple[str, str]]:
        for call in self.calls:
            arguments = call.arguments.build([None] * len(call.arguments.leaves))
            for path in exact_paths(arguments):
                yield call.path, f"input{path}: not a floating tensor"


def _arithmetic(native: bool, lifted: bool) -> tuple[str, ...]:
    if native:
        return ("the model does not run in float64: compared in its own precision",)
    return ("the model does not run in float64 with the narrow types it writes out: they were left out",) if lifted else ()


def _narrow(place: Place) -> bool:
    """Whether a narrow type inside is what keeps the place from being decided."""
    return any(note.startswith("precision bottleneck") for note in place.note)


def _better(place: Place | None, other: Place) -> Place:
    """The second of two examinations of a place where it decides, else the first."""
    return other if place is None or other.status not in (KINK, NOISE, NOTHING) else place


class _Failed:
    """Stands for the modules running when an exception came, of which only the innermost is known."""

    def __init__(self, innermost: str | None) -> None:
        self.innermost = innermost


def _without_code(call: Call) -> bool:
    """A plain sequence of modules: nothing of its own to be wrong."""
    kind = type(call.module)
    return bool(call.inner) and kind.forward is nn.Sequential.forward and "forward" not in vars(call.module) and not hooked(call.module)
