"""``gradcheck report`` and ``gradcheck compare``: runs that are on disk. Needs no torch."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradcheck_suite.core.causes import ranked
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import Event
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, count, fails, fold, urgency
from gradcheck_suite.schema import load

_Check = tuple[str, str, str]
"""Family, property and subject."""


def read(path: Path) -> Report:
    """The report of a run's folder (finished or not), of a results.jsonl, or of a report.json.

    Raises:
        UsageError: there is none, or it does not fit the schema.
    """
    if path.is_dir() and (path / "results.jsonl").exists():
        return fold(_events([path]))
    file = path / "report.json" if path.is_dir() else path
    if file.name == "results.jsonl":
        return fold(_events([file.parent]))
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} holds no run: {error.strerror or error}", allowed="the folder of a run, or a report.json",
                         instead="Runs are in reports/ unless --output-dir said otherwise.") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}", allowed="a report.json that gradcheck wrote") from None
    return load(Report, data)


def _events(folders: Sequence[Path]) -> list[Event]:
    from gradcheck_suite.engine.store import read_events

    return [event for folder in folders for event in read_events(folder)]


def merged(paths: Sequence[Path]) -> Report:
    """One report of several runs. Of a check that is in several of them the worst result counts, and the report says so.

    Raises:
        UsageError: see ``read``.
    """
    if not paths:
        raise UsageError("no run was given", allowed="folders of runs, or files report.json")
    reports = [read(path) for path in paths]
    if len(reports) == 1:
        return reports[0]
    subjects = {subject.name: subject for report in reports for subject in report.subjects}
    kept: dict[_Check, list[Finding]] = {}
    differing: list[str] = []
    for report in reports:
        for check, findings in _by_check(report).items():
            before = kept.setdefault(check, findings)
            if _worst(before).verdict is not _worst(findings).verdict:
                differing.append(f"{check[1]} on {check[2]} differs between the runs; the worst result is shown")
            kept[check] = min(before, findings, key=lambda group: urgency(_worst(group))[:2])
    flat = ranked(sorted((finding for group in kept.values() for finding in group), key=urgency))
    notes = [note for report in reports for note in report.run.notes]
    strictest = Level.INDICATOR if any(report.run.fail_on is Level.INDICATOR for report in reports) else Level.REQUIREMENT
    run = replace(reports[0].run, fail_on=strictest, complete=all(report.run.complete for report in reports), checks_done=len(kept),
                  checks_planned=sum(report.run.checks_planned for report in reports) - sum(report.run.checks_done for report in reports)
                  + len(kept), seconds=sum(report.run.seconds for report in reports),
                  broken=tuple(dict.fromkeys(text for report in reports for text in report.run.broken)),
                  notes=(*notes, *dict.fromkeys(differing), f"merged from {len(reports)} runs"))
    return Report(run=run, subjects=tuple(subjects.values()), findings=flat, summary=count(flat))


def _by_check(report: Report) -> dict[_Check, list[Finding]]:
    groups: dict[_Check, list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault((finding.family, finding.property, finding.subject), []).append(finding)
    return groups


def _worst(findings: Sequence[Finding]) -> Finding:
    return min(findings, key=urgency)


def placed(paths: Sequence[Path], asked: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Where ``gradcheck report`` writes: what was asked for; else a page in the run's own folder, or here where there are several.

    Raises:
        UsageError: a file that was asked for is one of those that were read.
    """
    inputs = {path.resolve() for path in paths} | {(path / name).resolve() for path in paths for name in ("report.json", "results.jsonl")}
    for kind, path in asked:
        if path.resolve() in inputs:
            raise UsageError(f"--{kind} {path} would replace a run that was read", instead="Write another name.")
    if asked:
        return list(asked)
    alone = paths[0] if len(paths) == 1 and paths[0].is_dir() else Path()
    return [("html", alone / "report.html")]


def judged(report: Report, fail_on: Level | None) -> Report:
    """The report with what fails it said anew; as it was where nothing is said."""
    return report if fail_on is None else replace(report, run=replace(report.run, fail_on=fail_on))


def difference(before: Report, after: Report) -> tuple[str, int]:
    """What changed between two reports, line by line, and the number of new failures of a build.

    A place is told by module, parameter and Function: neither a line of source nor an entry that moves is a change.
    """
    def judged(report: Report) -> dict[tuple[str, ...], Finding]:
        groups: dict[tuple[str, ...], list[Finding]] = {}
        for finding in report.findings:
            if finding.verdict is not Verdict.NOT_APPLICABLE:
                place = str(replace(finding.where, entry=None, source=None))
                groups.setdefault((finding.property, finding.subject, place, finding.family), []).append(finding)
        return {key: _worst(group) for key, group in groups.items()}

    old, new = judged(before), judged(after)
    lines, failures = [], 0
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and (was.verdict, was.level) == (now.verdict, now.level):
            continue
        fresh = now is not None and fails(now) and (was is None or not fails(was))
        failures += fresh
        names = [_told(finding) for finding in (was, now)]
        lines.append(f"{'NEW  ' if fresh else '     '}{key[0]} on {key[1]}{f' at {key[2]}' if key[2] else ''}: {names[0]} -> {names[1]}")
    return "\n".join(lines) or "no verdict changed", failures


def _told(finding: Finding | None) -> str:
    if finding is None:
        return "absent"
    return f"{finding.verdict.value} ({finding.level.value})" if finding.verdict is Verdict.VIOLATED else finding.verdict.value
