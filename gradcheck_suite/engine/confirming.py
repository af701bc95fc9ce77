"""Every violation is measured a second time before it is reported; one that does not repeat is a finding of its own."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from gradcheck_suite.core.errors import GradcheckError
from gradcheck_suite.core.events import Event, Note
from gradcheck_suite.core.evidence import Evidence, Verdict, Where
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.property import Property
from gradcheck_suite.engine.check import check

if TYPE_CHECKING:
    from gradcheck_suite.engine.sources import CaptureSource

_OTHERWISE = "A run with the same seed measured otherwise: the subject is not deterministic"


class Again:
    """A second source of the same subject, opened when a violation has to be confirmed, and then kept."""

    def __init__(self, open_source: Callable[[], "CaptureSource"]) -> None:
        self._open = open_source
        self._source: CaptureSource | None = None

    def confirmed(self, prop: Property, findings: tuple[Finding, ...]) -> Generator[Event, None, tuple[Finding, ...]]:
        """Measure once more; what is violated and does not come again is judged by the change between the two measurements."""
        if not any(finding.verdict is Verdict.VIOLATED for finding in findings):
            return findings
        try:
            self._source = self._source or self._open()
            repeated = check(prop, self._source)
        except GradcheckError as error:
            yield Note(text=f"{prop.name}: the repetition failed: {error}")
            return findings
        failed = next((finding for finding in repeated if finding.verdict is Verdict.ERROR), None)
        if failed is not None:
            yield Note(text=f"{prop.name}: the repetition ended with an error, the first measurement stands: {failed.reason}")
            return findings
        violated = {finding.where.tensor for finding in repeated if finding.verdict is Verdict.VIOLATED}
        return tuple(finding if finding.verdict is not Verdict.VIOLATED or finding.where.tensor in violated
                     else unrepeated(finding, repeated) for finding in findings)

    def close(self) -> None:
        """End what was opened."""
        if self._source is not None:
            self._source.close()


def checked(prop: Property, source: "CaptureSource", again: Again) -> Generator[Event, None, tuple[Finding, ...]]:
    """``check``, and what it finds violated measured a second time: what a violation means at every front door."""
    return (yield from again.confirmed(prop, check(prop, source)))


def unrepeated(finding: Finding, repeated: tuple[Finding, ...]) -> Finding:
    """The finding of a violation that did not repeat: the change of its value, which equal seeds make zero up to both errors."""
    here = [other for other in repeated if other.evidence is not None and other.where.tensor == finding.where.tensor]
    now = next(iter(here or [other for other in repeated if other.evidence is not None]), None)
    if finding.evidence is None or now is None or now.evidence is None:
        return replace(finding, verdict=Verdict.INCONCLUSIVE, ruled_out=(), reason=f"{_OTHERWISE}; nothing could be measured again")
    before, after = finding.evidence, now.evidence
    change = Evidence(
        quantity=f"change between two runs with the same seed of the {before.quantity}", value=abs(before.value - after.value),
        error=before.error + after.error, low=0.0, high=0.0, unit=before.unit,
        where=Where(module=finding.where.module, parameter=finding.where.parameter),
        note=f"{_OTHERWISE}. First {before.value:.6g} ± {before.error:.2g}, a violation; then {after.value:.6g} ± {after.error:.2g}")
    told = f"{finding.property}: {change.verdict.value}{f' at {finding.where}' if str(finding.where) else ''}: {change}. {change.note}"
    return replace(finding, verdict=change.verdict, evidence=change, ruled_out=(), reason=_OTHERWISE, message=told)
