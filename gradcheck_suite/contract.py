"""The contract that every property keeps, ours and a user's: one clause is one test."""

import json
from collections.abc import Iterator

from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.property import Property

SEED = 20260101


class BrokenClause(AssertionError):
    """A clause does not hold; the text says which, for which control, and what was found instead."""


def clauses(prop: Property) -> Iterator[str]:
    """The names of the clauses that apply to a property."""
    yield "is documented"
    yield "has controls on both sides"
    yield from (f"holds for control {index}" for index in range(len(prop.holds_for)))
    yield from (f"fails for control {index}" for index in range(len(prop.fails_for)))
    if prop.holds_for:
        yield "repeats bit for bit"


def verify(prop: Property, clause: str) -> None:
    """Check one clause.

    Raises:
        BrokenClause: it does not hold.
    """
    if clause == "is documented":
        _documented(prop)
    elif clause == "has controls on both sides":
        _demand(bool(prop.holds_for), "holds_for is empty: a property needs a network for which it holds")
        _demand(bool(prop.fails_for), "fails_for is empty: a property needs a network for which it fails")
    elif clause == "repeats bit for bit":
        first, second = findings_of(prop, prop.holds_for[0]), findings_of(prop, prop.holds_for[0])
        _demand(_as_json(first) == _as_json(second), "the same seed gave two different findings")
    else:
        kind, _, index = clause.partition(" for control ")
        _control(prop, kind, int(index))


def findings_of(prop: Property, architecture: Architecture) -> tuple[Finding, ...]:
    """What the property finds for an architecture at the standard budget."""
    from gradcheck_suite.architectures.subjects import subject
    from gradcheck_suite.engine.check import check
    from gradcheck_suite.engine.sources import LocalSource

    return check(prop, LocalSource(subject(architecture), BUDGETS["standard"], SEED))


def _documented(prop: Property) -> None:
    from gradcheck_suite.catalogue import SECTIONS

    _demand(prop.statement.endswith("."), f"the first line of the docstring is the statement, a sentence; it is {prop.statement!r}")
    missing = [title for title in SECTIONS if not prop.sections.get(title)]
    _demand(not missing, f"the docstring lacks the sections {', '.join(missing)}")
    _demand(bool(prop.symptoms), "symptoms is empty: nobody who searches for a defect will find this property")


def _control(prop: Property, kind: str, index: int) -> None:
    architecture = (prop.holds_for if kind == "holds" else prop.fails_for)[index]
    findings = findings_of(prop, architecture)
    _as_json(findings)
    verdicts = {finding.verdict for finding in findings}
    told = "\n".join(finding.message for finding in findings)
    if kind == "holds":
        _demand(verdicts == {Verdict.HOLDS}, f"it does not hold for {architecture!r}:\n{told}")
    else:
        _demand(Verdict.VIOLATED in verdicts, f"it is not violated for {architecture!r}:\n{told}")


def _as_json(findings: tuple[Finding, ...]) -> str:
    from gradcheck_suite.core.serialize import to_data
    from gradcheck_suite.schema import load

    text = json.dumps(to_data(list(findings)), allow_nan=False)
    restored = json.dumps(to_data([load(Finding, item) for item in json.loads(text)]), allow_nan=False)
    _demand(text == restored, "a finding does not survive JSON")
    return text


def _demand(fine: bool, message: str) -> None:
    if not fine:
        raise BrokenClause(message)
