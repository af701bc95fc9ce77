"""Models that are awkward but do not harm their process: what is said of their gradients is right, and never an internal error."""

import os
import re
from functools import partial

import pytest

from gradcheck_suite.api import selected
from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import fold
from gradcheck_suite.engine.run import Plan, described, run
from gradcheck_suite.engine.sources import LocalSource
from gradcheck_suite.targets import parse, resolve
from tests.hostile.table import GRADIENTS, KINDS, MODELS, PURITY, STRUCTURE, Awkward

FAMILIES = ("correctness", "numerics", "purity")
CASES = [
    (file, case)
    for file, cases in (("purity", PURITY), ("gradients", GRADIENTS), ("structure", STRUCTURE), ("kinds", KINDS))
    for case in cases
]


def findings_of(*targets: str) -> tuple[Finding, ...]:
    """All findings of the gradient families on these targets, in one run."""
    folder = os.path.relpath(MODELS)  # a target's name decides its draws: the same in every checkout
    sources = tuple(partial(LocalSource, resolve(parse(f"{folder}/{target}")), budget("quick"), 0) for target in targets)
    plan = Plan(sources, selected(FAMILIES), confirm=False)
    report = fold(run(plan, described(("test",), 0, "quick", 0)))
    assert report.run.complete
    return report.findings


def outcome(findings: list[Finding]) -> str:
    """The worst that was said, in one word; ``clean`` needs a statement of correctness that holds."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.ERROR, Verdict.VIOLATED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict.value
    holds = any(finding.verdict is Verdict.HOLDS and finding.family == "correctness" for finding in findings)
    return "clean" if holds else Verdict.NOT_APPLICABLE.value


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{file}-{case.name}" for file, case in CASES])
def test_what_is_said_is_right_and_its_sibling_is_audited(file: str, case: Awkward) -> None:
    target, sibling = f"{file}.py:{case.name}", f"{file}.py:healthy"
    findings = findings_of(target, sibling)
    mine = [finding for finding in findings if case.name == "healthy" or finding.subject.endswith(target)]
    told = "\n".join(f"{finding.message}\n{finding.where}" for finding in mine)
    assert outcome(mine) in case.outcomes, told
    assert re.search(case.words, told)
    assert "inside gradcheck_suite" not in told
    assert outcome([finding for finding in findings if finding.subject.endswith(sibling)]) == "clean"


def test_a_model_without_values_is_refused() -> None:
    with pytest.raises(TargetError, match="meta device"):
        findings_of("kinds.py:meta")
