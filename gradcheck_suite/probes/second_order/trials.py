"""Trials of second derivatives: a configuration of a call, its gradient compared with differences of gradients."""

from dataclasses import replace
from typing import Final

import torch

from gradcheck_suite.captures.directional_derivative import Place
from gradcheck_suite.probes.configuration_sweep.across import across, special
from gradcheck_suite.probes.configuration_sweep.draft import Change
from gradcheck_suite.probes.configuration_sweep.judgement import judged
from gradcheck_suite.probes.configuration_sweep.trial import REFUSED, Trial, Trials, told
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, DISAGREES, NOISE, NOTHING, glance
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination, examine
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, linearize
from gradcheck_suite.probes.directional_derivative.functions import FunctionCall, function_name, function_source, recorded
from gradcheck_suite.probes.directional_derivative.generators import Generators
from gradcheck_suite.probes.directional_derivative.graph import survey
from gradcheck_suite.probes.directional_derivative.localize import breakdown
from gradcheck_suite.probes.directional_derivative.places import place_of
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.probes.second_order.gradient import GradientOf
from gradcheck_suite.probes.state import preserved

NONE_PROMISED: Final = "promises none"
_REFUSING: Final = ("torch::autograd::Error", "torch::autograd::NotImplemented")
_PROMISES: Final = ("differentiate twice", "is not implemented", "does not support double", "not differentiable twice", "double backward")


class SecondTrials(Trials):
    """Trials of one module call, of second derivatives where the first ones agree."""

    def functions(self) -> list[type]:
        """The custom Functions that take part in the call as it is."""
        draft = self.draft()
        with preserved(draft.module), torch.enable_grad():
            try:
                unit = Varied(draft, Surroundings(Draws(self._seed), Resets(draft.module), Generators([])))
                outputs = unit.run()
            except FAILURES as error:
                told(error)
                return []
            return survey([output for output in outputs if output.requires_grad]).functions

    def _compared(self, unit: Varied, outputs: list[torch.Tensor], changes: list[Change]) -> Trial:
        draws = unit.around.draws
        linear = linearize(unit, draws, outputs=outputs)
        trial = Trial(NOTHING, handwritten=bool(linear.survey.functions), outputs=unit.own)
        if not linear.live or not unit.tensors or linear.survey.reentrant:
            return trial
        if glance(unit, linear, direction(unit, linear, draws), self._look) is None:
            if examine(unit, draws, self._look, first=linear).status != AGREES:
                trial.why = "the first derivative does not agree"
                return trial
            unit.replace()
        second = GradientOf(unit, linear, draws)
        try:
            found = examined(second, draws)
            if found is None:
                return Trial(NONE_PROMISED, "its gradient says that it cannot be differentiated")
            if special(found):
                found = across(second, draws) or found
        except FAILURES as error:
            text = told(error)
            return Trial(NONE_PROMISED if any(words in str(error) for words in _PROMISES) else REFUSED, text)
        finally:
            self.runs += second.runs
            second.close()
        trial.status = found.status
        if found.status == DISAGREES:
            trial.place = self._placed(second, found, linear, draws)
            trial.status = judged(second, found, trial.place, changes)
            if found.outcome.nonfinite and changes:
                trial.status = NOISE  # of PyTorch's own operations at a special point, as like as not
        return trial

    def _placed(self, second: GradientOf, found: Examination, first: Linearization, draws: Draws) -> Place:
        call = self.recorded
        place = place_of(second, found, (call.module, call.path, "second order"))
        parts = breakdown(second, found, draws, ALONE)
        function = _wrong(second.of, first.survey.functions, draws)
        missing = "the gradient carries no graph: it cannot be differentiated again, and does not say so"
        note = (missing, *place.note) if not any(g is not None and bool(g.any()) for g in found.linear.gradients) else place.note
        return replace(place, breakdown=parts, handwritten=True, blamed=True, note=note,
                       function=function_name(function) if function is not None else None,
                       source=function_source(function) if function is not None else None)


def examined(second: GradientOf, draws: Draws) -> Examination | None:
    """The examination of a gradient as a function; ``None`` where the gradient says that it cannot be differentiated."""
    with torch.enable_grad(), second.arithmetic():
        outputs = second.run()
    if _refuses([value for value in outputs if value.requires_grad]):
        second.reset()
        return None
    linear = linearize(second, draws, outputs=outputs)
    along = direction(second, linear, draws)
    quick = glance(second, linear, along, ALONE)
    return Examination(quick, linear, along) if quick is not None else examine(second, draws, ALONE, first=linear)


def _wrong(experiment: Experiment, functions: list[type], draws: Draws) -> type | None:
    """The custom function whose second derivative is wrong by itself; else the only one there."""
    if len(functions) < 2:
        return functions[0] if functions else None
    with recorded(functions) as calls, torch.enable_grad():
        experiment.run()
    experiment.reset()
    for function, args in list(calls):
        call = FunctionCall(function, args)
        try:
            found = examined(GradientOf(call, linearize(call, draws), draws), draws)
            if found is not None and found.status == DISAGREES:
                return function
        except FAILURES:
            continue
    return None


def _refuses(gradients: list[torch.Tensor]) -> bool:
    """Whether a graph holds an operation that raises when it is differentiated.

    PyTorch puts it there for ``once_differentiable`` and for operations without a second derivative; it only raises where it is
    reached, and a gradient with respect to chosen tensors may pass it by.
    """
    waiting = [value.grad_fn for value in gradients]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() in _REFUSING:
            return True
        waiting.extend(following for following, _ in node.next_functions)
    return False
