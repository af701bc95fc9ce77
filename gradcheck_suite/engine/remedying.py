"""Remedies tried: each is applied to a copy of the subject, and the violated property is measured there again."""

import math
import traceback
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gradcheck_suite.core.errors import GradcheckError, NotApplicable
from gradcheck_suite.core.evidence import Evidence, Verdict, Where
from gradcheck_suite.core.finding import Finding, RemedyTrial
from gradcheck_suite.core.property import NoFailure, Property
from gradcheck_suite.engine.check import measured, remeasured
from gradcheck_suite.engine.sources import CaptureSource, RemediableSource
from gradcheck_suite.remedies import about

_CAVEAT: Final = "When it does not"


class Remedies:
    """The remedies of one subject. Each is applied once, and what its probes see there is shared by all properties."""

    def __init__(self, source: CaptureSource, most: int) -> None:
        """``source`` is the subject's own; at most ``most`` remedies are tried for one property."""
        self._source, self._most = source, most
        self._sources: dict[str, CaptureSource | None] = {}

    def tried(self, prop: Property, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings of a property, the violated ones with what its remedies do to them.

        Remedies that have nothing to change in this subject are left out and do not count.
        """
        if not self._most or not any(finding.verdict is Verdict.VIOLATED for finding in findings):
            return findings
        trials: dict[str, list[RemedyTrial]] = {finding.id: [] for finding in findings}
        tried = 0
        for name in prop.remedies:
            if tried == self._most:
                break
            made = self._trials(prop, name, findings)
            tried += made is not None
            for finding_id, trial in made or ():
                trials[finding_id].append(trial)
        return tuple(replace(finding, remedies=tuple(trials[finding.id])) for finding in findings)

    def close(self) -> None:
        """End what was started."""
        for source in self._sources.values():
            if source is not None:
                source.close()
        self._sources.clear()

    def _trials(self, prop: Property, name: str, findings: tuple[Finding, ...]) -> list[tuple[str, RemedyTrial]] | None:
        """A trial of one remedy for every violated finding; ``None`` where it has nothing to change."""
        violated = [(finding, finding.evidence) for finding in findings
                    if finding.verdict is Verdict.VIOLATED and finding.evidence is not None]
        try:
            source = self._remedied(name)
            if source is None:
                return None
            source.prefetch(prop.probes)
            after = measured(prop, source)
            before = [evidence for _, evidence in violated]
            return [(finding.id, _trial(prop, name, evidence, after, source, moved(before, after))) for finding, evidence in violated]
        except GradcheckError as failure:
            return [(finding.id, _failed(name, str(failure))) for finding, _ in violated]
        except Exception as error:  # of the remedy or of the property's measurement: the run goes on
            told = f"it raised {type(error).__name__}: {error}, at {traceback.format_exc(limit=-1).splitlines()[1].strip()}"
            return [(finding.id, _failed(name, told)) for finding, _ in violated]

    def _remedied(self, name: str) -> CaptureSource | None:
        """The source of the changed subject; ``None`` where the remedy has nothing to change."""
        if name not in self._sources:
            changed: CaptureSource | None = None
            if isinstance(self._source, RemediableSource):
                changed = self._source.remedied(name)
                try:
                    assert changed.facts
                except NotApplicable:
                    changed.close()
                    changed = None
            self._sources[name] = changed
        return self._sources[name]


def helps(before: Evidence, after: Evidence) -> bool:
    """Whether a violated quantity holds afterwards, or lies nearer to its bounds by more than both errors together."""
    if after.verdict is Verdict.HOLDS:
        return True
    return distance(before) - distance(after) > before.error + after.error


def distance(evidence: Evidence) -> float:
    """How far the value lies outside its bounds: 0 inside, NaN where there is no value."""
    if math.isnan(evidence.value):
        return math.nan
    return max(evidence.low - evidence.value, evidence.value - evidence.high, 0.0)


def matching(before: Evidence, after: Iterable[Evidence]) -> Evidence | None:
    """The evidence of the same quantity at the same place, or inside it (a remedy wraps modules): of several the worst."""
    same = [evidence for evidence in after if evidence.quantity == before.quantity and evidence.where.parameter == before.where.parameter]
    exact = [evidence for evidence in same if evidence.where.module == before.where.module]
    inside = [evidence for evidence in same if _inside(evidence.where, before.where)]
    return max(exact or inside, key=distance, default=None)


def moved(before: Iterable[Evidence], after: tuple[Evidence, ...] | Finding) -> int:
    """In how many places the property is violated afterwards that were not violated before."""
    if isinstance(after, Finding):
        return 0
    known = [evidence.where for evidence in before]
    return sum(not any(evidence.where == where or _inside(evidence.where, where) for where in known)
               for evidence in after if evidence.verdict is Verdict.VIOLATED)


def _inside(place: Where, around: Where) -> bool:
    return bool(around.module) and (place.module or "").startswith(f"{around.module}.")


def _trial(
    prop: Property, name: str, before: Evidence, after: tuple[Evidence, ...] | Finding, source: CaptureSource, others: int
) -> RemedyTrial:
    found = remeasured(prop, before, source) if isinstance(after, Finding) else matching(before, after)
    if found is not None:
        better = helps(before, found)
        caveat = "" if found.verdict is Verdict.HOLDS else about(name).sections.get(_CAVEAT, "")
        elsewhere = f"violated then in {others} other places" if others else ""
        return RemedyTrial(remedy=name, verdict=found.verdict, value=found.value, error=found.error, helps=better,
                           note=_sentences(about(name).does, found.note, elsewhere, caveat))
    if not isinstance(after, Finding):
        return _unmeasured(name, Verdict.NOT_APPLICABLE, "the changed model has no such place")
    gone = isinstance(after.reason, NoFailure)
    return replace(_unmeasured(name, after.verdict, after.reason), helps=gone)


def _failed(name: str, reason: str) -> RemedyTrial:
    return _unmeasured(name, Verdict.ERROR, reason)


def _unmeasured(name: str, verdict: Verdict, reason: str) -> RemedyTrial:
    return RemedyTrial(remedy=name, verdict=verdict, value=math.nan, error=math.nan, note=_sentences(about(name).does, reason))


def _sentences(*parts: str) -> str:
    """The parts that are not empty, each ended by a stop."""
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)
