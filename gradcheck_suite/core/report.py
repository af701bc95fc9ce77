"""Report: a run folded from its events; the only thing a renderer reads."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gradcheck_suite.core.causes import ranked
from gradcheck_suite.core.events import CheckFinished, Event, Note, Run, RunFinished, RunStarted, SubjectFacts, SubjectStarted
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.serialize import to_data

SCHEMA = 1
ORDER = (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.HOLDS, Verdict.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a run found. ``summary`` counts findings per verdict."""

    run: Run
    subjects: tuple[SubjectFacts, ...]
    findings: tuple[Finding, ...]
    summary: dict[str, int]
    schema: int = SCHEMA

    @property
    def ok(self) -> bool:
        """No violated requirement, no error, and at least one finding that holds."""
        return self.exit_code() == 0

    def failures(self, fail_on: Level | None = None) -> tuple[Finding, ...]:
        """Findings that fail a build: errors, violated requirements, and violated indicators if asked for, here or by the run."""
        return tuple(finding for finding in self.findings if fails(finding, fail_on or self.run.fail_on))

    def exit_code(self, fail_on: Level | None = None) -> int:
        """0 fine, 1 a failure, 2 a target among several could not be built, 4 inconclusive only or unfinished, 5 nothing was checked.

        A run that asked for statements about gradients and could judge none of them has checked nothing.
        """
        if self.failures(fail_on):
            return 1
        if self.run.broken:
            return 2
        judged = [f for f in self.findings if f.verdict is not Verdict.NOT_APPLICABLE]
        gradients = [f for f in self.findings if f.family == "correctness"]
        if not judged or (gradients and not any(f in judged for f in gradients)):
            return 5
        return 4 if not self.run.complete or all(f.verdict is Verdict.INCONCLUSIVE for f in judged) else 0

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write report.json (schema version 1; NaN and infinities as text) through a temporary file, all or nothing."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(to_data(self), file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        return target

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page: one self-contained file that opens from disk, without network or JavaScript."""
        from gradcheck_suite.reporting.html import write_page

        return write_page(self, Path(path))

    def __str__(self) -> str:
        from gradcheck_suite.core.text import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from gradcheck_suite.reporting.html import summary_fragment

        return summary_fragment(self)


def fails(finding: Finding, fail_on: Level = Level.REQUIREMENT) -> bool:
    """Whether a finding fails a build: an error, a violated requirement, a violated indicator where that is asked for."""
    violated = finding.verdict is Verdict.VIOLATED and finding.level in (Level.REQUIREMENT, fail_on)
    return violated or finding.verdict is Verdict.ERROR


def fold(events: Iterable[Event]) -> Report:
    """The report of a stream of events, complete or not; several runs' streams may follow each other (merged runs)."""
    run: Run | None = None
    subjects: dict[str, SubjectFacts] = {}
    findings: dict[tuple[str, str], tuple[Finding, ...]] = {}
    finished = started = 0
    for event in events:
        match event:
            case RunStarted():
                started += 1
                run = event.run if run is None else replace(
                    run, notes=run.notes + event.run.notes, checks_planned=run.checks_planned + event.run.checks_planned)
            case SubjectStarted():
                subjects[event.subject.name] = event.subject
            case CheckFinished():
                findings[event.property, event.subject] = event.findings
            case Note() if run is not None:
                run = replace(run, notes=(*run.notes, event.text))
            case RunFinished() if run is not None:
                finished += not event.interrupted
                run = replace(run, seconds=run.seconds + event.seconds, broken=run.broken + event.broken)
    if run is None:
        run = Run(id="", command=(), seed=0, budget="", versions={}, notes=("no run was recorded",))
    flat = ranked(sorted((f for group in findings.values() for f in group), key=urgency))
    run = replace(run, complete=0 < started == finished, checks_done=len(findings))
    return Report(run=run, subjects=tuple(subjects.values()), findings=flat, summary=count(flat))


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings per verdict, every verdict named."""
    verdicts = [f.verdict for f in findings]
    return {verdict.value: verdicts.count(verdict) for verdict in Verdict}


def urgency(finding: Finding) -> tuple[object, ...]:
    """Sort key of findings: violated first, requirements before indicators, then by place; ``ranked`` then puts causes first."""
    return (ORDER.index(finding.verdict), finding.level is Level.INDICATOR, finding.subject, finding.family, finding.property,
            finding.where.module or "", finding.where.parameter or "", finding.id)
