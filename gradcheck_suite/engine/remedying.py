"""Remedies tried: each is applied to a copy of the subject, and the violated property is measured there again."""

import math
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.errors import GradcheckError, NotApplicable
from gradcheck_suite.core.evidence import Evidence, Verdict, Where
from gradcheck_suite.core.finding import Finding, RemedyTrial
from gradcheck_suite.core.property import NoFailure, Property
from gradcheck_suite.engine.check import measured, remeasured
from gradcheck_suite.engine.sources import CaptureSource, RemediableSource
from gradcheck_suite.remedies import about

# Best constant outputs' losses that agree to this share are found in the same units.
_ALIKE: Final = 1e-3
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
            found = _Measured(prop, name, source, after, moved([evidence for _, evidence in violated], after))
            told, cures = outcome(self._source, source) if "training" in prop.probes else ("", False)
            return [(finding.id, replace(found.trial(evidence, only=_only(finding, findings)), outcome=told, cures=cures))
                    for finding, evidence in violated]
        except GradcheckError as failure:
            return [(finding.id, _unmeasured(name, Verdict.ERROR, str(failure))) for finding, _ in violated]
        except Exception as error:  # of the remedy or of the property's measurement: the run goes on
            told = f"it raised {type(error).__name__}: {error}, at {traceback.format_exc(limit=-1).splitlines()[1].strip()}"
            return [(finding.id, _unmeasured(name, Verdict.ERROR, told)) for finding, _ in violated]

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


def outcome(before: CaptureSource, after: CaptureSource) -> tuple[str, bool]:
    """What the short training of a changed subject reached beside that of the subject itself, and whether the changed one learns.

    Empty where one of them was not run. Where the best constant output's loss has changed (other targets), the losses cannot be compared,
    and shares of it are told.
    """
    try:
        own, changed = before.capture("training"), after.capture("training")
    except GradcheckError:
        return "", False
    was, is_now = own.own.constant, changed.own.constant
    if math.isfinite(was) and not abs(was - is_now) <= _ALIKE * abs(was):
        told = f"the short training then explains {changed.gain:.0%} of the best constant output's loss instead of {own.gain:.0%}"
    else:
        told = f"the loss of the short training ends at {_reached(changed)} instead of {_reached(own)}"
    return told, not changed.failing


def _reached(training: Training) -> str:
    """Mean of the losses that the initialisations reached, and half of their range where there are several."""
    reached = [attempt.reached for attempt in training.attempts if attempt.finite]
    if not reached:
        return "no finite value"
    lost = len(training.attempts) - len(reached)
    spread = f" ± {(max(reached) - min(reached)) / 2:.2g}" if len(reached) > 1 else ""
    broken = f" ({lost} of {len(training.attempts)} initialisations break off)" if lost else ""
    return f"{sum(reached) / len(reached):.3g}{spread}{broken}"


def helps(before: Evidence, after: Evidence) -> bool:
    """Whether a violated quantity holds afterwards, or has at least halved its distance to its bounds, beyond both errors.

    Half is a convention: some quantities are counted without error, and would move by a little whatever is changed.
    """
    if after.verdict is Verdict.HOLDS:
        return True
    was, is_now = distance(before), distance(after)
    return was - is_now > before.error + after.error and is_now <= was / 2


def distance(evidence: Evidence) -> float:
    """How far the value lies outside its bounds: 0 inside, NaN where there is no value."""
    if math.isnan(evidence.value):
        return math.nan
    return max(evidence.low - evidence.value, evidence.value - evidence.high, 0.0)


def matching(before: Evidence, after: Iterable[Evidence], *, only: bool = False) -> Evidence | None:
    """The evidence of the same quantity at the same place, or inside it (a remedy wraps modules): of several the worst.

    ``only`` says that the property makes one piece of evidence of this quantity, about the worst place, which may now be another.
    """
    same = [evidence for evidence in after if evidence.quantity == before.quantity]
    parameter = [evidence for evidence in same if evidence.where.parameter == before.where.parameter]
    exact = [evidence for evidence in parameter if evidence.where.module == before.where.module]
    inside = [evidence for evidence in parameter if _inside(evidence.where, before.where)]
    return max(exact or inside or (same if only and len(same) == 1 else ()), key=distance, default=None)


def _only(finding: Finding, findings: Iterable[Finding]) -> bool:
    """Whether no other evidence has the quantity of this finding's (of a folded finding one quantity alone is known)."""
    others = [other.evidence for other in findings if other is not finding and other.evidence is not None]
    folded = any(other.places > 1 for other in findings)
    return not folded and finding.evidence is not None and all(other.quantity != finding.evidence.quantity for other in others)


def moved(before: Iterable[Evidence], after: tuple[Evidence, ...] | Finding) -> int:
    """In how many places the property is violated afterwards that were not violated before."""
    if isinstance(after, Finding):
        return 0
    known = [evidence.where for evidence in before]
    return sum(not any(evidence.where == where or _inside(evidence.where, where) for where in known)
               for evidence in after if evidence.verdict is Verdict.VIOLATED)


def _inside(place: Where, around: Where) -> bool:
    return bool(around.module) and (place.module or "").startswith(f"{around.module}.")


@dataclass(frozen=True, slots=True)
class _Measured:
    """A property measured on a changed subject."""

    prop: Property
    remedy: str
    source: CaptureSource
    after: tuple[Evidence, ...] | Finding
    others: int

    def trial(self, before: Evidence, only: bool) -> RemedyTrial:
        """What became of one violated quantity; ``only`` as for ``matching``."""
        after = self.after
        found = remeasured(self.prop, before, self.source) if isinstance(after, Finding) else matching(before, after, only=only)
        if found is not None:
            caveat = "" if found.verdict is Verdict.HOLDS else about(self.remedy).sections.get(_CAVEAT, "")
            elsewhere = f"It is then violated in {self.others} other places" if self.others and not only else ""
            seen = f"Then seen: {found.note}" if found.note else ""
            return RemedyTrial(remedy=self.remedy, verdict=found.verdict, value=found.value, error=found.error, helps=helps(before, found),
                               note=_sentences(about(self.remedy).does, seen, elsewhere, caveat))
        if not isinstance(after, Finding):
            return _unmeasured(self.remedy, Verdict.NOT_APPLICABLE, "the changed model has no such place")
        return replace(_unmeasured(self.remedy, after.verdict, after.reason), helps=isinstance(after.reason, NoFailure))


def _unmeasured(name: str, verdict: Verdict, reason: str) -> RemedyTrial:
    return RemedyTrial(remedy=name, verdict=verdict, value=math.nan, error=math.nan, note=reason)


def _sentences(*parts: str) -> str:
    """The parts that are not empty, each ended by a stop."""
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)
