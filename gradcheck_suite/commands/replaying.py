"""``gradcheck replay``: one case again, from what was stored before it ran."""

from pathlib import Path
from typing import TYPE_CHECKING

from gradcheck_suite.core.errors import GradcheckError, UsageError
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.text import finding_text

if TYPE_CHECKING:
    from gradcheck_suite.core.finding import Finding
    from gradcheck_suite.core.property import Property
    from gradcheck_suite.engine.store import Case


def replay(text: str, runs: Path) -> int:
    """Run a case again and say FIXED, STILL FAILS or CANNOT RUN; returns the exit code.

    Args:
        text: the id of a finding or a case, or the path of a case file.
        runs: the folder of runs.

    Raises:
        UsageError: no such case, or the property is not in the catalogue any more.
    """
    folder, case = _case(text, runs)
    prop = _property(case)
    from gradcheck_suite.engine.store import findings_of

    try:
        findings = _searched(case, prop) if not case.target and "plant" in case.options else _audited(case, prop)
    except GradcheckError as error:
        print(f"CANNOT RUN: {error}")
        return 2
    shown = [finding for finding in findings if finding.verdict in (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)] or findings
    print("\n\n".join(map(finding_text, shown)))
    verdicts = {finding.verdict for finding in findings}
    if Verdict.ERROR in verdicts:
        before = {finding.verdict for finding in findings_of(folder, case)}
        same = Verdict.ERROR in before
        print("\nSTILL FAILS: the check ended with an error, as it did" if same else "\nCANNOT RUN: the check ended with an error")
        return 1
    if Verdict.VIOLATED in verdicts:
        print("\nSTILL FAILS")
        return 1
    undecided = Verdict.HOLDS not in verdicts
    print("\nINCONCLUSIVE" if undecided else "\nFIXED: the statement holds")
    return 4 if undecided else 0


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
    from gradcheck_suite.api import opener
    from gradcheck_suite.engine.check import check
    from gradcheck_suite.targets import Options, parse

    given = case.options
    if "target" not in given:
        raise UsageError(f"the case {case.id} has no target: it was made by a call in Python", instead="Run that call again.")
    options = Options(inputs=tuple(given["inputs"]), targets=given["targets"], loss=given["loss"], mode=given["mode"])
    target = parse(given["target"], given["folder"])
    source = opener(target, options, given.get("budget", case.budget), case.seed, given["isolation"])()
    try:
        return check(prop, source)
    finally:
        source.close()


def _searched(case: "Case", prop: "Property") -> "tuple[Finding, ...]":
    from gradcheck_suite.core.budget import budget
    from gradcheck_suite.engine.search import search

    return search(prop, budget(case.budget), case.seed, tuple(case.options["plant"]))
