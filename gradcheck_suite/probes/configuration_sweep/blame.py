"""Blame: the innermost module that is wrong in a configuration, and parameters that one of two modes has lost."""

import torch

from gradcheck_suite.captures.directional_derivative import Place, TensorComparison
from gradcheck_suite.probes.configuration_sweep.draft import Change, draft_of
from gradcheck_suite.probes.configuration_sweep.trial import Trial, Trials
from gradcheck_suite.probes.configuration_sweep.usage import MODE
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, DISAGREES
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, PARAMETER
from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.places import kind_of
from gradcheck_suite.probes.directional_derivative.record import Call, Recorder, module_paths
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings, is_stock
from gradcheck_suite.probes.state import preserved


def innermost(trials: Trials, changes: list[Change], place: Place) -> Place:
    """The place of the deepest call inside that is wrong by itself in this configuration, or the container's own."""
    draft = trials.changed(changes)
    if isinstance(draft, Trial):
        return place
    module = trials.recorded.module
    prefix = f"{trials.recorded.path}." if trials.recorded.path else ""
    recorder = Recorder(module_paths(module, prefix), apart=True)
    with preserved(module), draft.applied():
        unit = Varied(draft, Surroundings(Draws(0), Resets(module), Generators(sources(module.modules()))))
        try:
            with torch.enable_grad():
                recorder.run(unit.run)
        except FAILURES:
            return place
        inner = [call for call in recorder.calls if call.output is not None and call.module is not module and not is_stock(call.module)]
        for call in sorted(inner, key=lambda call: -call.path.count(".")):
            made = draft_of(call)
            made.after, made.disturbed = draft.after, draft.disturbed
            found = Trials(call, 0).tried(made, [])
            if found.status == DISAGREES and found.place is not None:
                return found.place
    return place


def with_cut(call: Call, base: Trial, trial: Trial, change: Change) -> Trial:
    """The trial of another mode, or one that says that a parameter has lost its gradient there while the output stayed the same.

    Where both modes give the same numbers and only one of them has them from a parameter, the other has them from a copy: the
    copy is right until the parameter is changed, and the parameter is not trained.
    """
    if change.axis != MODE or trial.status != AGREES or len(base.outputs) != len(trial.outputs):
        return trial
    if not all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=0.0) for a, b in zip(base.outputs, trial.outputs, strict=True)):
        return trial
    training, evaluation = (base, trial) if call.module.training else (trial, base)
    lost = [(size, name, "evaluation") for name, size in training.arrived.items() if size > 0 and not evaluation.arrived.get(name)]
    lost += [(size, name, "training") for name, size in evaluation.arrived.items() if size > 0 and not training.arrived.get(name)]
    if not lost:
        return trial
    size, name, mode = max(lost)
    parameter = TensorComparison(name=name, role=PARAMETER, analytic=0.0, numeric=size, error=0.0, scale=size,
                                 pattern="no gradient arrives (None)")
    note = f"training and evaluation mode give the same output, but in {mode} mode it is not made from {name}: from a copy, it seems"
    trial.status = DISAGREES
    trial.place = Place(module=call.path, kind=kind_of(call.module), role="configured", calls=1, status=DISAGREES, analytic=0.0,
                        numeric=size, error=0.0, scale=size, tensors=(name,), blamed=True, breakdown=(parameter,), note=(note,))
    return trial

