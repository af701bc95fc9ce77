"""Blame: which places a disagreement is laid on, and declarations of intended mismatches."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gradcheck_suite.captures.directional_derivative import Place
from gradcheck_suite.probes import declared
from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, DISAGREES, IN_PLACE, NOISE
from gradcheck_suite.probes.directional_derivative.context import Culprit, culprits
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment
from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source
from gradcheck_suite.probes.directional_derivative.places import kind_of, localised, place_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.units import ModuleCall

if TYPE_CHECKING:
    from gradcheck_suite.probes.directional_derivative.investigation import Investigation

CANCELS = "no hand-written gradient takes part, and in the whole model the gradient of every parameter agrees"
CONTEXT = "every module agrees alone: the disagreement comes from the context of the call"


def lay(case: "Investigation", whole: Place, found: Examination) -> None:
    """Lay the blame: on units that disagree by themselves; else, where the whole model disagrees, on what explains that."""
    _settle_units(case, whole)
    if whole.status == DISAGREES and not _explained(case.places):
        case.places += [case.examine_call(call) for call in case.spared]
        case.spared.clear()
        _settle_units(case, whole)
    if whole.status == DISAGREES and not _explained(case.places):
        whole = _searched(case, whole, found)
    case.places.append(whole)


def stale(case: "Investigation") -> tuple[tuple[str, str], ...]:
    """Declarations that no disagreement matched."""
    used = {name for place in case.places if place.intended for name in (place.module, place.function)}
    return tuple((name, reason) for name, reason in case.intended.items()
                 if name not in used and not any(_within(path, name) for path in case.excused))


def _settle_units(case: "Investigation", whole: Place) -> None:
    """Blame every unit with a hand-written gradient that is wrong, and of the others those that show in the whole model.

    PyTorch's own operations may disagree alone and be right in their place: CTC loss behind a log-softmax, a constant that cancels.
    """
    for index, place in enumerate(case.places):
        if place.status != DISAGREES or place.blamed or place.intended:
            continue
        if place.handwritten or _declared(case, place):
            case.places[index] = _laid(case, place)
        elif whole.status == AGREES:
            case.places[index] = replace(place, note=(*place.note, CANCELS))
        elif place.relevant:
            case.places[index] = _confirmed(case, place, whole)


def _confirmed(case: "Investigation", place: Place, whole: Place) -> Place:
    """A container's own code was tried with stand-ins for its inner calls: what it calls in earnest has the last word."""
    if place.role != "glue":
        return replace(place, blamed=True)
    call = next(c for c in case.calls if c.path == place.module and c.inner)
    real = whole if call.module is case.whole.model else case.examine_call(call, inside=True)
    if real.status == DISAGREES:
        return replace(place, blamed=True)
    if real.status == AGREES:
        return replace(place, note=(*place.note, "with its inner calls in place it agrees"))
    note = "with affine stand-ins for its inner calls it disagrees; with the calls themselves nothing could be decided"
    return replace(place, status=NOISE, error=math.inf, note=(*place.note, note))


def _declared(case: "Investigation", place: Place) -> str:
    return declared.reason(case.intended, place.module, place.function)


def _explained(places: Iterable[Place]) -> bool:
    return any(place.blamed or place.intended for place in places)


def _searched(case: "Investigation", whole: Place, found: Examination) -> Place:
    """No unit explains the whole: look in the smallest container that disagrees with its inner calls, then in place."""
    container = _smallest(case)
    path = "" if container is None else container.module
    suspects = [index for index, place in enumerate(case.places) if _suspect(place) and _within(place.module, path)]
    for index in suspects:
        place = case.places[index]
        if place.status != DISAGREES:
            call = next(c for c in case.units if (c.path, bool(c.inner)) == (place.module, place.role == "glue"))
            place = case.examine_call(call, detached=True)
        case.places[index] = _laid(case, place) if place.status == DISAGREES else place
    if _explained(case.places[index] for index in suspects):
        return whole
    named = _in_context(case, container)
    if named is not None:
        case.places.append(_laid(case, named))
    elif container is not None:
        case.places.append(_laid(case, replace(container, note=(*container.note, CONTEXT))))
    else:
        whole = localised(case.whole, found, whole, case.draws, IN_PLACE)
        return _laid(case, replace(whole, note=(*whole.note, CONTEXT)))
    return whole


def _laid(case: "Investigation", place: Place) -> Place:
    """The place with the blame on it, or the reason declared for it."""
    reason = _declared(case, place)
    return replace(place, intended=reason, blamed=not reason)


def _suspect(place: Place) -> bool:
    """A gradient stopped on what looked like plain data, or an output that moves and carries none."""
    return place.status == DISAGREES or any("carry no gradient" in note for note in place.note)


def _within(module: str, path: str) -> bool:
    return not path or module == path or module.startswith(path + ".")


def _smallest(case: "Investigation") -> Place | None:
    """The innermost container that disagrees alone, inner calls and all; ``None``: only the whole does."""
    roots = {id(case.whole.model), id(case.whole.loss)}
    containers = [call for call in case.calls if call.inner and call.output is not None and id(call.module) not in roots]
    for call in sorted(containers, key=lambda call: -call.path.count(".")):
        place = case.examine_call(call, inside=True)
        if place.status == DISAGREES:
            return place
    return None


def _in_context(case: "Investigation", container: Place | None) -> Place | None:
    """The leaf call that goes wrong in its place, if the fault is its own."""
    call = None if container is None else next(c for c in case.calls if c.path == container.module and c.inner)
    experiment: Experiment = case.whole if call is None else ModuleCall(call, case.around)
    inside = case.outermost() if call is None else call.inner
    try:
        found = culprits(experiment, inside, case.around)
    except FAILURES:
        return None
    finally:
        if call is not None:
            experiment.close()
            experiment.reset()
    own = [culprit for culprit in found if culprit.own]
    if own:
        return _placed(case, own[0])
    if found and container is not None:
        return _involving(case, container, found[0])
    return _placed(case, found[0]) if found else None


def _placed(case: "Investigation", culprit: Culprit) -> Place:
    call = culprit.call
    if culprit.unit is None or culprit.found is None:
        place = case.examine_call(call)
    else:
        place = place_of(culprit.unit, culprit.found, (call.module, call.path, "in place"))
        place = localised(culprit.unit, culprit.found, place, case.draws, ALONE)
    function, source = _only_function(call, case)
    return replace(place, role="in place", note=(culprit.why, CONTEXT, *place.note), kind=kind_of(call.module),
                   function=place.function or function, source=place.source or source)


def _involving(case: "Investigation", container: Place, culprit: Culprit) -> Place:
    function, source = _only_function(culprit.call, case)
    note = (f"{culprit.why}: {culprit.call.path}", CONTEXT, *container.note)
    return replace(container, note=note, function=container.function or function, source=container.source or source)


def _only_function(call: Call, case: "Investigation") -> tuple[str | None, str | None]:
    """The custom function of a call that has exactly one."""
    from gradcheck_suite.probes.directional_derivative.experiment import linearize

    unit = ModuleCall(call, case.around)
    functions = linearize(unit, case.draws).survey.functions
    unit.close()
    return (function_name(functions[0]), function_source(functions[0])) if len(functions) == 1 else (None, None)
