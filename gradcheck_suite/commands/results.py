"""``gradcheck report`` and ``gradcheck compare``: runs that are on disk. Needs no torch."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import Event
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, count, fold, urgency
from gradcheck_suite.schema import load


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
    """One report of several runs. A check that is in several runs is taken from the last.

    Raises:
        UsageError: see ``read``.
    """
    if not paths:
        raise UsageError("no run was given", allowed="folders of runs, or files report.json")
    reports = [read(path) for path in paths]
    if len(reports) == 1:
        return reports[0]
    subjects = {subject.name: subject for report in reports for subject in report.subjects}
    latest: dict[tuple[str, str, str], list[Finding]] = {}
    for report in reports:
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in report.findings:
            groups.setdefault((finding.family, finding.property, finding.subject), []).append(finding)
        latest.update(groups)
    findings = tuple(finding for group in latest.values() for finding in group)
    first = reports[0].run
    run = replace(first, complete=all(report.run.complete for report in reports), checks_done=len(latest),
                  checks_planned=sum(report.run.checks_planned for report in reports),
                  seconds=sum(report.run.seconds for report in reports),
                  notes=(*(note for report in reports for note in report.run.notes), f"merged from {len(reports)} runs"))
    ordered = tuple(sorted(findings, key=urgency))
    return Report(run=run, subjects=tuple(subjects.values()), findings=ordered, summary=count(ordered))


def difference(before: Report, after: Report) -> tuple[str, int]:
    """What changed between two reports, line by line, and the number of new failures."""
    def judged(report: Report) -> dict[tuple[str, str, str], Finding]:
        return {(f.property, f.subject, str(f.where)): f for f in report.findings if f.verdict is not Verdict.NOT_APPLICABLE}

    old, new = judged(before), judged(after)
    bad = (Verdict.VIOLATED, Verdict.ERROR)
    lines, failures = [], 0
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and was.verdict is now.verdict:
            continue
        fresh = now is not None and now.verdict in bad and (was is None or was.verdict not in bad)
        failures += fresh
        names = [finding.verdict.value if finding else "absent" for finding in (was, now)]
        lines.append(f"{'NEW  ' if fresh else '     '}{key[0]} on {key[1]}{f' at {key[2]}' if key[2] else ''}: {names[0]} -> {names[1]}")
    return "\n".join(lines) or "no verdict changed", failures
