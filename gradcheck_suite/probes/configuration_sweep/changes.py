"""All single changes of a call, in the order in which they are tried: those that found most in the past first, axis by axis."""

from collections.abc import Iterator

from gradcheck_suite.probes.configuration_sweep import settings, shapes, usage, values
from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.trees import argument_names

AXES = (usage.MODE, settings.SETTING, shapes.SHAPE, values.ZEROS, values.TIES, values.DOMAIN, usage.NEEDS, usage.GRAPH, usage.LAYOUT,
        usage.SIZE, values.PARAMETERS)


def changes(draft: Draft, draws: Draws) -> list[Change]:
    """Every single change, one of each axis in turn."""
    names = argument_words(draft)
    made = [*usage.modes(draft), *settings.settings(draft, draws), *shapes.shapes(draft, draws), *values.zeros(draft, names),
            *values.ties(draft, names), *values.domain(draft, names, draws), *usage.needs(draft, names), *usage.graph(draft, names),
            *usage.layouts(draft, names), *values.parameters(draft, draws)]
    by_axis = {axis: [change for change in made if change.axis == axis] for axis in AXES}
    return list(_in_turn(by_axis))


def _in_turn(by_axis: dict[str, list[Change]]) -> Iterator[Change]:
    """Rounds over the axes; a longer list gives more in each round, so that all end at about the same time."""
    longest = max(map(len, by_axis.values()), default=0)
    given = dict.fromkeys(by_axis, 0)
    for number in range(1, longest + 1):
        for axis, found in by_axis.items():
            upto = -(-len(found) * number // longest)
            yield from found[given[axis] : upto]
            given[axis] = upto


def argument_words(draft: Draft) -> dict[int, str]:
    """What to call each leaf: the argument's name, with its place in it where it is nested."""
    call, places = draft.call()
    args, kwargs = call.invocation(call.arguments.leaves)
    named = call.arguments.paths(argument_names(draft.module, args, kwargs))
    known = {place: name for place, name in zip(places, named, strict=True) if place is not None}
    firsts = argument_names(draft.module, args, kwargs)
    return {index: known.get(index, firsts[index] if index < len(firsts) else f"argument {index}") for index in range(len(draft.leaves))}
