"""``check``: the one place where a property meets a subject."""

import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradcheck_suite.core.errors import GradcheckError, NotApplicable, SubjectError
from gradcheck_suite.core.evidence import Evidence, Verdict, Where
from gradcheck_suite.core.finding import Finding, finding_id
from gradcheck_suite.core.property import Property, parameters

if TYPE_CHECKING:
    from gradcheck_suite.engine.sources import CaptureSource


def check(prop: Property, source: "CaptureSource") -> tuple[Finding, ...]:
    """The findings of one property on one subject.

    Conditions are asked first, each with the captures it names; then the property measures; evidence computes its verdict.
    Every place that is violated or inconclusive is a finding of its own; those that hold are folded into one, with their
    count. A subject that fails, or a property that raises, is an ERROR: never a pass.
    """
    subject = source.facts.name
    found = measured(prop, source)
    return (found,) if isinstance(found, Finding) else fold(prop, subject, found)


def measured(prop: Property, source: "CaptureSource") -> tuple[Evidence, ...] | Finding:
    """All evidence that a property makes of a subject, one piece or more, or the finding that tells why there is none."""
    subject = source.facts.name
    try:
        for condition in prop.conditions:
            unmet = _call(condition, source)
            if unmet:
                return _without_evidence(prop, subject, Verdict.NOT_APPLICABLE, unmet)
        made = _call(prop.measure, source)
        evidence = (made,) if isinstance(made, Evidence) else tuple(made)
    except NotApplicable as fact:
        return _without_evidence(prop, subject, Verdict.NOT_APPLICABLE, str(fact))
    except SubjectError as failure:
        where = Where(module=failure.module)
        return _without_evidence(prop, subject, Verdict.ERROR, f"{failure} (stage: {failure.stage})", where, failure.details)
    except GradcheckError:
        raise
    except Exception as error:
        reason = f"the property raised {type(error).__name__}: {error}"
        return _without_evidence(prop, subject, Verdict.ERROR, reason, details=traceback.format_exc())
    return evidence or _without_evidence(prop, subject, Verdict.NOT_APPLICABLE, "the measurement found nothing to compare")


def remeasured(prop: Property, evidence: Evidence, source: "CaptureSource") -> Evidence | None:
    """The quantity of evidence on a changed subject that no longer meets the property's conditions; ``None`` where it has none."""
    if prop.remeasure is None:
        return None
    _, *probes = parameters(prop.remeasure)
    try:
        return prop.remeasure(evidence, **{name: source.capture(name) for name in probes})
    except (NotApplicable, SubjectError):
        return None


def fold(prop: Property, subject: str, evidence: Iterable[Evidence]) -> tuple[Finding, ...]:
    """One finding per place that does not hold, and one for all places that do (the tightest of them shown)."""
    pieces = tuple(evidence)
    holding = [piece for piece in pieces if piece.verdict is Verdict.HOLDS]
    findings = [of_evidence(prop, subject, piece) for piece in pieces if piece.verdict is not Verdict.HOLDS]
    if holding:
        findings.append(of_evidence(prop, subject, max(holding, key=_tightness), places=len(holding)))
    return tuple(findings)


def of_evidence(prop: Property, subject: str, evidence: Evidence, places: int = 1) -> Finding:
    """The finding that a piece of evidence makes; paths below the working directory are told from there."""
    evidence = _from_here(evidence)
    verdict = evidence.verdict
    where = evidence.where if verdict is not Verdict.HOLDS or places == 1 else Where()
    place = f" at {where}" if str(where) else ""
    count = f" in {places} places, the tightest:" if places > 1 else ""
    note = f". {evidence.note}" if evidence.note else ""
    return Finding(
        id=finding_id(prop.name, subject, where, verdict), property=prop.id, family=prop.family,
        level=evidence.level or prop.level, symptoms=prop.symptoms, subject=subject, verdict=verdict,
        message=f"{prop.id}: {verdict}{place}{count or ':'} {evidence}{note}",
        where=where, evidence=evidence, ruled_out=evidence.ruled_out, places=places, statement=prop.statement,
    )


def _from_here(evidence: Evidence) -> Evidence:
    here = os.path.join(os.getcwd(), "")
    where = evidence.where
    if where.source is not None:
        where = replace(where, source=where.source.removeprefix(here))
    return replace(evidence, where=where, note=evidence.note.replace(here, ""))


def _without_evidence(
    prop: Property, subject: str, verdict: Verdict, reason: str, where: Where | None = None, details: str = ""
) -> Finding:
    return Finding(
        id=finding_id(prop.name, subject, verdict), property=prop.id, family=prop.family, level=prop.level, symptoms=prop.symptoms,
        subject=subject, verdict=verdict, message=f"{prop.id}: {verdict}: {reason}", where=where or Where(), reason=reason,
        details=details, statement=prop.statement,
    )


def _call(function: Callable[..., Any], source: "CaptureSource") -> Any:
    return function(**{name: source.capture(name) for name in parameters(function)})


def _tightness(evidence: Evidence) -> float:
    """How close the measured interval comes to a bound, in units of the allowed width (larger is closer)."""
    least, most = evidence.value - evidence.error, evidence.value + evidence.error
    width = max(evidence.high - evidence.low, evidence.resolution or 0.0)
    if not 0 < width < float("inf"):
        return most - evidence.high if evidence.low == float("-inf") else evidence.low - least
    return max(most - evidence.high, evidence.low - least) / width


