"""SARIF 2.1.0 (OASIS): what code-scanning services read. One rule per property, one result per finding that asks for attention.

``kind`` says the verdict (``fail``, ``open`` for inconclusive), ``level`` the weight: ``error`` for a requirement, ``warning`` for an
indicator that fails no build. What holds or does not apply is counted in the run's properties and is no result: services show every
result as an alert.
Every result has a physical location, without which GitHub refuses the whole file: the source line where it is known, else the first
line of the target's module, else of the report.
"""

import json
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report, fails
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.core.text import facts, place_text, shortened, visible
from gradcheck_suite.reporting.files import write_text

_KINDS: Final = {Verdict.VIOLATED: "fail", Verdict.ERROR: "fail", Verdict.INCONCLUSIVE: "open"}
_LIBRARIES: Final = {"timm", "torchvision", "hf"}  # targets that are no file of the user's
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def write(report: Report, path: Path) -> Path:
    """Write SARIF.

    Raises:
        UsageError: the path cannot be written.
    """
    return write_text(path, render(report))


def render(report: Report) -> str:
    """The report as SARIF."""
    return json.dumps(to_data(document(report)), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """The report as SARIF data."""
    rules: dict[str, dict[str, Any]] = {}
    told = [finding for finding in report.findings if finding.verdict in _KINDS]
    homes = {subject.name: _home(subject.target) for subject in report.subjects}
    for finding in told:
        rules.setdefault(_rule_id(finding), _rule(finding))
    order = {name: index for index, name in enumerate(rules)}
    driver = {"name": "gradcheck_suite", "rules": list(rules.values())}
    version = report.run.versions.get("gradcheck-suite", "")
    if version:
        driver["version"] = version
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": report.run.complete and not report.run.broken, "toolExecutionNotifications": [
            *({"level": "error", "message": {"text": _text(text)}} for text in report.run.broken),
            *({"level": "note", "message": {"text": _text(note)}} for note in report.run.notes)]}],
        "results": [_result(finding, order, homes.get(finding.subject) or "report.json", fails(finding, report.run.fail_on))
                    for finding in told],
        "columnKind": "unicodeCodePoints",
        "properties": {"seed": report.run.seed, "budget": report.run.budget, "run": report.run.id, "summary": report.summary},
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule_id(finding: Finding) -> str:
    return visible(f"{finding.family}/{finding.property}")


def _rule(finding: Finding) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": _rule_id(finding), "name": visible(finding.property),
        "properties": {"tags": list(dict.fromkeys(map(visible, finding.symptoms)))},
        "defaultConfiguration": {"level": "warning" if finding.level is Level.INDICATOR else "error"},
        "help": {"text": f"gradcheck explain {visible(finding.property)}"},
    }
    if finding.statement:
        rule["shortDescription"] = {"text": _text(finding.statement)}
    return rule


def _result(finding: Finding, order: dict[str, int], home: str, failing: bool) -> dict[str, Any]:
    kind = _KINDS[finding.verdict]
    level = "none" if kind != "fail" else "error" if failing else "warning"
    words = [f"{label}: {text}" for label, text in facts(finding) if text]
    result: dict[str, Any] = {
        "ruleId": _rule_id(finding), "ruleIndex": order[_rule_id(finding)], "kind": kind, "level": level,
        "message": {"text": _text("; ".join([f"{finding.verdict} in {finding.subject}", *words]), 4000)},
        "partialFingerprints": {"gradcheckFinding/v1": visible(finding.id)},
        "properties": {"subject": visible(finding.subject), "verdict": finding.verdict, "reproduce": visible(finding.reproduce)},
    }
    if finding.evidence is not None:
        evidence = finding.evidence
        result["properties"] |= {"value": evidence.value, "error": evidence.error, "low": evidence.low, "high": evidence.high}
    result["locations"] = [_location(finding, home)]
    return result


def _location(finding: Finding, home: str) -> dict[str, Any]:
    name = ".".join(part for part in (finding.subject, finding.where.module, finding.where.parameter) if part)
    file, line = source_of(finding) or (home, 1)
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": visible(name), "kind": "member"}],
                                "physicalLocation": {"artifactLocation": _artifact(file), "region": {"startLine": line}}}
    place = place_text(finding)
    if place:
        location["message"] = {"text": _text(place)}
    return location


def _home(target: str) -> str:
    """The file of a target ``path/file.py:factory`` or ``pkg.module:factory``, as its text says; empty for other targets."""
    module, _, factory = target.rpartition(":")
    if module.endswith(".py"):
        return module
    if module in _LIBRARIES:
        return ""
    return module.replace(".", "/") + ".py" if factory.isidentifier() and all(part.isidentifier() for part in module.split(".")) else ""


def source_of(finding: Finding) -> tuple[str, int] | None:
    """File and line of a finding, where its place names them as ``file:line``."""
    file, _, line = (finding.where.source or "").rpartition(":")
    return (file, int(line)) if file and line.isascii() and line.isdigit() and int(line[:9]) > 0 else None


def _artifact(file: str) -> dict[str, str]:
    """A URI: relative to the source root, or a file URI of an absolute path, percent-encoded."""
    from urllib.parse import quote

    text = PureWindowsPath(file).as_posix() if "\\" in file else file
    uri = quote(text.encode("utf-8", "backslashreplace"), safe="/")
    return {"uri": f"file://{uri}"} if text.startswith("/") else {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _text(text: str, most: int = 1000) -> str:
    return visible(shortened(text, most))
