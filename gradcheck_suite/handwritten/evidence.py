"""Evidence on the places of one part: what the statements on gradients by hand share."""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_derivative import Comparison, Part, Place, Status
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table

QUANTITY = "deviation of the gradient by hand from the derivative"


def part_evidence(part: Part) -> Iterator[Evidence]:
    """One piece of evidence per place; for all together only where no place is looked at, or none shows what they show together."""
    alone = [place.settled(part.resolution)[0] for place in part.places]
    yield from (_evidence(part, place) for place in part.places)
    if not alone or (part.joint.settled(part.resolution)[0] == "disagrees" and "disagrees" not in alone):
        yield _evidence(part, part.joint)


def _evidence(part: Part, place: Place) -> Evidence:
    status, shown = place.settled(part.resolution)
    wrong = status in ("disagrees", "disagrees-nearby", "exceptional")
    known = place.entries[0].index if wrong and place.entries else ()
    where = Where(module=place.module, parameter=place.parameter or None, entry=known or None,
                  function=part.function or None, source=part.source)
    doubt = max(shown.error, shown.deviation) if status == "open" else shown.error
    return Evidence(
        quantity=QUANTITY, value=shown.deviation, error=doubt if not math.isnan(doubt) else math.inf, low=0.0, high=0.0,
        resolution=part.resolution, where=where, note=_note(part, place, status, shown), exhibits=_table(place) if wrong else (),
        ruled_out=_ruled_out(part, shown) if status.startswith("disagrees") else (),
        level=Level.INDICATOR if status == "exceptional" else None)


def _note(part: Part, place: Place, status: Status, shown: Comparison) -> str:
    if not part.finite:
        return "the function is not finite at x"
    beside = f"{shown.radius:.2g} of its size beside x" if shown.radius else "x"
    if status in ("disagrees", "disagrees-nearby", "exceptional"):
        confined = "; at points beside x it agrees, so the function has a formula of its own at x" if status == "exceptional" else ""
        return f"the gradient {place.pattern or 'differs'}{_worst(place)}, at {beside}{confined}"
    if status == "agrees-nearby":
        return f"x lies on or next to a kink; the gradient agrees at {beside}"
    if status == "open":
        return "one evaluation of the function is too noisy, or a kink too near, to tell"
    unseen = max(abs(shown.numeric), abs(shown.analytic)) <= shown.bound
    return f"no derivative above {shown.bound:.1g} is visible, and none is claimed" if unseen else ""


def _worst(place: Place) -> str:
    if not place.entries:
        return ""
    entry = place.entries[0]
    name = f" in entry [{', '.join(map(str, entry.index))}]" if entry.index else ""
    return f" (worst{name}: {entry.analytic:.6g} by hand, {entry.numeric:.6g} ± {entry.error:.1g} by differences{_others(place)})"


def _others(place: Place) -> str:
    """What the entries looked at have in common, where some of them are right."""
    wrong = [entry for entry in place.entries if abs(entry.analytic - entry.numeric) > entry.error]
    right = len(place.entries) - len(wrong)
    if not right or not wrong:
        return ""
    common = ""
    if all(abs(entry.numeric) <= entry.error for entry in wrong):
        common = "; where it is wrong the derivative is zero, as if a mask or slope were left out"
    elif not any(entry.analytic for entry in wrong):
        common = "; where it is wrong it is zero"
    return f"; {right} of {len(place.entries)} entries looked at are right{common}"


def _ruled_out(part: Part, shown: Comparison) -> tuple[str, ...]:
    repeats = all(repetition.replayed == 0 for repetition in part.repetitions)
    smooth = abs(shown.jump) <= 4 * shown.jump_error
    return (*(("a kink",) if smooth else ()), *(("nondeterminism",) if repeats else ()), "rounding")


def _table(place: Place) -> tuple[Table, ...]:
    rows = tuple((", ".join(map(str, entry.index)) or "the only one", entry.analytic, entry.numeric, entry.error)
                 for entry in place.entries)
    return (Table(title="Entries", columns=("entry", "by hand", "by differences", "error of the latter"), rows=rows),)
