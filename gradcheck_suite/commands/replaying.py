"""``gradcheck replay``: one case again, from what was stored before it ran."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradcheck_suite.core.errors import GradcheckError, UsageError
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import GENERATED
from gradcheck_suite.core.text import finding_text, place_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradcheck_suite.core.finding import Finding
    from gradcheck_suite.core.property import Property
    from gradcheck_suite.engine.store import Case

_TOLD = (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)


def replay(text: str, runs: Path) -> int:
    """Run a case again and say FIXED, STILL FAILS, NOT APPLICABLE, INCONCLUSIVE or CANNOT RUN; returns the exit code.

    Args:
        text: the id of a finding or a case, or the path of a case file.
        runs: the folder of runs.

    Raises:
        UsageError: no such case, or the property is not in the catalogue any more.
    """
    folder, case = _case(text, runs)
    prop = _property(case)
    from gradcheck_suite.engine.store import findings_of

    before = findings_of(folder, case)
    try:
        findings = _searched(case, prop) if not case.target and "plant" in case.options else _audited(case, prop)
    except GradcheckError as error:
        print(f"CANNOT RUN: {error}")
        return 2
    shown = [finding for finding in findings if finding.verdict in _TOLD] or findings
    print("\n\n".join(map(finding_text, shown)))
    said, code = judged(_asked(text, before), before, findings)
    print(f"\n{said}")
    return code


def judged(asked: "Finding | None", before: "Sequence[Finding]", now: "Sequence[Finding]") -> tuple[str, int]:
    """What a replay says, and its exit code: 0 fixed, 1 fails, 4 undecided, 5 not applicable.

    Args:
        asked: the finding that was asked for, where it is one: then its place decides, not the property as a whole.
        before: all that the run found in the case.
        now: what was found now.
    """
    verdicts = {finding.verdict for finding in now}
    if Verdict.ERROR in verdicts:
        same = any(finding.verdict is Verdict.ERROR for finding in before)
        return ("STILL FAILS: the check ended with an error, as it did" if same else "CANNOT RUN: the check ended with an error"), 1
    failing = [finding for finding in now if finding.verdict is Verdict.VIOLATED]
    if failing:
        if asked is None or asked.verdict is not Verdict.VIOLATED or asked.subject == GENERATED:
            return "STILL FAILS", 1
        if any(finding.where.tensor == asked.where.tensor for finding in failing):
            return "STILL FAILS here", 1
        here = [finding for finding in now if finding.verdict is Verdict.INCONCLUSIVE and finding.where.tensor == asked.where.tensor]
        elsewhere = ", ".join(dict.fromkeys(place_text(finding) or "the whole model" for finding in failing))
        return f"{'INCONCLUSIVE' if here else 'FIXED'} here, fails elsewhere: {elsewhere}", 1
    if verdicts == {Verdict.NOT_APPLICABLE}:
        return f"NOT APPLICABLE: {now[0].reason}", 5
    undecided = Verdict.HOLDS not in verdicts or any(
        finding.verdict is Verdict.INCONCLUSIVE and asked is not None and finding.where.tensor == asked.where.tensor for finding in now)
    return ("INCONCLUSIVE", 4) if undecided else ("FIXED: the statement holds", 0)


def _asked(text: str, before: "Sequence[Finding]") -> "Finding | None":
    """The one finding that the text names, by its id or the start of it."""
    named = [finding for finding in before if finding.id.startswith(text)]
    return named[0] if len(named) == 1 else None


def _case(text: str, runs: Path) -> "tuple[Path, Case]":
    from gradcheck_suite.engine.store import find_case, read_case

    path = Path(text)
    if path.suffix == ".json":
        return path.parent.parent, read_case(path.parent.parent, path.stem)
    return find_case(runs, text)


def _property(case: "Case") -> "Property":
    from gradcheck_suite.api import selected

    folders = tuple(Path(folder) for folder in case.options.get("properties", ()))
    return selected([case.property], (), folders)[0]


def _audited(case: "Case", prop: "Property") -> "tuple[Finding, ...]":
    from gradcheck_suite.commands.checking import Choice, Isolation, opened
    from gradcheck_suite.engine.check import check
    from gradcheck_suite.targets import Options, parse

    given = case.options
    if "target" not in given:
        raise UsageError(f"the case {case.id} has no target: it was made by a call in Python", instead="Run that call again.")
    options = Options(inputs=tuple(given["inputs"]), targets=given["targets"], loss=given["loss"], mode=given["mode"])
    target = parse(given["target"], given["folder"])
    choice = Choice(budget=given.get("budget", case.budget), seed=case.seed)
    isolation = Isolation(kind=given["isolation"], timeout=given.get("timeout"), memory_mib=given.get("memory_mib"))
    source = opened(target, options, choice, isolation)
    try:
        return check(prop, source)
    finally:
        source.close()


def _searched(case: "Case", prop: "Property") -> "tuple[Finding, ...]":
    from gradcheck_suite.core.budget import budget
    from gradcheck_suite.engine.search import search

    return search(prop, budget(case.budget), case.seed, tuple(case.options["plant"]))
