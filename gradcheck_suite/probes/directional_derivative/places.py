"""From an examination to a ``Place`` of the capture."""

import math
from dataclasses import replace

from torch import nn

from gradcheck_suite.captures.directional_derivative import Place
from gradcheck_suite.numerics.differences import DOUBLE
from gradcheck_suite.probes.directional_derivative.comparison import ALONE, DISAGREES, NOTHING, Look, Outcome
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import DATA, Experiment
from gradcheck_suite.probes.directional_derivative.functions import (
    function_name,
    function_source,
    loss_name,
    source_of,
    wrong_at_the_point,
    wrong_function,
    wrong_functions,
)
from gradcheck_suite.probes.directional_derivative.localize import breakdown
from gradcheck_suite.probes.directional_derivative.stopping import explained
from gradcheck_suite.probes.directional_derivative.whole import Objective

NOT_REPLAYED = "not replayed"


def unreplayed(module: nn.Module, path: str, role: str, error: Exception) -> Place:
    """A place where running the call alone raised."""
    text = f"running the call alone raised {type(error).__name__}: {str(error)[:200]}"
    return Place(module=path, kind=kind_of(module), role=role, calls=1, status=NOT_REPLAYED, analytic=math.nan, numeric=math.nan,
                 error=math.inf, scale=0.0, tensors=(), note=(text,))


def kind_of(module: nn.Module) -> str:
    """Class name, or the name of a loss function."""
    return loss_name(module) if isinstance(module, Objective) else type(module).__name__


def place_of(experiment: Experiment, found: Examination, where: tuple[nn.Module, str, str]) -> Place:
    """The facts of one examination. ``where``: module, path, role."""
    module, path, role = where
    outcome = found.outcome
    status = NOTHING if not found.linear.live and outcome.status != DISAGREES else outcome.status
    disagrees = status == DISAGREES
    return Place(
        module=path, kind=kind_of(module), role=role, calls=1, status=status, analytic=outcome.analytic, numeric=outcome.numeric,
        error=outcome.error, scale=outcome.scale, tensors=tuple(experiment.names()) if disagrees else (),
        relevant=any(role != DATA for role in experiment.roles), handwritten=found.linear.survey.handwritten, lifted=experiment.lifted,
        kinks=tuple(found.kinks), note=_notes(experiment, found), ruled_out=_ruled_out(found) if disagrees else (),
    )


def localised(experiment: Experiment, found: Examination, place: Place, draws: Draws, look: Look) -> Place:
    """A place that disagrees, with everything that can be found out about where in it."""
    parts = breakdown(experiment, found, draws, look)
    function, proven = wrong_function(experiment, found.linear.survey.functions, draws)
    roles = [part.role for part in parts] or experiment.roles
    stops = explained(experiment, found, draws, look)
    if stops and proven and function is not None and not wrong_functions(experiment, [function], draws, unstopped=True):
        stops = ""  # what the function stops itself
    elif stops:  # with the function as it is, backprop agrees: it takes no part
        function, proven = None, False
    note = ("without these stops backprop agrees: declare them if they are meant",) if stops else ()
    return replace(
        place, breakdown=parts, note=(*place.note, *note), stopped=stops, relevant=any(role != DATA for role in roles),
        handwritten=proven or found.linear.survey.hooked,
        function=function_name(function) if function is not None else None,
        source=function_source(function) if function is not None else None,
    )


def wrong_there(experiment: Experiment, found: Examination, place: Place, draws: Draws) -> Place:
    """A place that agrees near a kink: but a custom function in it may be wrong at the very point."""
    experiment.replace()
    wrong = wrong_at_the_point(experiment, found.linear.survey.functions, draws)
    if wrong is None:
        return place
    function, call, other = wrong
    outcome = other.outcome
    return replace(
        place, status=DISAGREES, analytic=outcome.analytic, numeric=outcome.numeric, error=outcome.error, scale=outcome.scale,
        handwritten=True, function=function_name(function), source=function_source(function),
        breakdown=breakdown(call, other, draws, ALONE), note=(outcome.text,), ruled_out=_ruled_out(other),
    )


def of_loss(place: Place, module: nn.Module) -> Place:
    """A place whose code is a plain loss function: named by the function and its line."""
    if not isinstance(module, Objective):
        return place
    return replace(place, function=place.function or loss_name(module), source=place.source or source_of(module.function))


def _notes(experiment: Experiment, found: Examination) -> tuple[str, ...]:
    outcome, notes = found.outcome, []
    if found.linear.mutated:
        notes.append("the backward pass writes into the gradient it is given: other users of that gradient read what it left")
    if outcome.text:
        notes.append(outcome.text)
    if found.displaced:
        notes.append(f"decided at {found.displaced}" if found.displaced.startswith("a point") else found.displaced)
    if experiment.lifted:
        notes.append("casts to a narrower type were left out: with them nothing could be resolved")
    if outcome.status == DISAGREES and outcome.seen.kept:
        notes.append(f"what is kept for the backward pass has a narrower type: {outcome.seen.kept}")
    if outcome.seen.narrow:
        notes.append(f"precision bottleneck: {outcome.seen.narrow}")
    if not outcome.repeats:
        notes.append("two runs from the same state and the same random numbers differ")
    if found.cut:
        notes.append(f"outputs {found.cut} move with the inputs and carry no gradient")
    if outcome.status == DISAGREES and outcome.seen.stopped:
        notes.append("gradients are stopped by " + ", ".join(outcome.seen.stopped))
    return tuple(notes)


def _ruled_out(found: Examination) -> tuple[str, ...]:
    outcome: Outcome = found.outcome
    facts = []
    if outcome.step:
        facts.append(f"kink (no discrete choice changes within ±{outcome.step:.0e})")
    if math.isfinite(outcome.error) and not outcome.nonfinite:
        facts.append("rounding and step size (error of the ladder of steps)")
    if outcome.repeats:
        facts.append("nondeterminism (equal runs, equal bits)")
    if outcome.seen.roundoff <= DOUBLE:
        facts.append("reduced precision (float64 throughout)")
    if found.confirmed:
        facts.append("chance (confirmed with a fresh direction and cotangent)")
    return tuple(facts)


