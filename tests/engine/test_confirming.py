"""Violations are measured again; what does not repeat is told as what it is."""

import itertools

from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.core.report import fold
from gradcheck_suite.engine.run import Plan, run
from tests.engine.fakes import TableSource, evidence, property_of
from tests.engine.test_run import FACTS


def findings_of(values, error=0.1, source=lambda: TableSource(probe=1)):
    values = iter(values)

    def measure(probe):
        return Evidence(quantity="q", value=next(values), error=error, low=0.0, high=1.0, ruled_out=("chance",))

    return fold(run(Plan((source,), (property_of(measure),)), FACTS)).findings


def test_a_violation_is_confirmed_from_a_fresh_source():
    opened = []

    def open_source():
        opened.append(TableSource(probe=1))
        return opened[-1]

    (finding,) = findings_of(itertools.repeat(3.0), source=open_source)
    assert finding.verdict is Verdict.VIOLATED
    assert finding.evidence.value == 3.0
    assert len(opened) == 2


def test_a_violation_that_does_not_repeat_is_a_violation_of_determinism_with_both_values():
    (finding,) = findings_of([3.0, 0.5])
    assert finding.verdict is Verdict.VIOLATED
    assert (finding.evidence.value, finding.evidence.error, finding.evidence.high) == (2.5, 0.2, 0.0)
    assert "not deterministic" in finding.message
    assert "First 3 ± 0.1" in finding.message
    assert "then 0.5 ± 0.1" in finding.message
    assert finding.ruled_out == finding.evidence.ruled_out == ()


def test_a_change_within_the_errors_is_inconclusive():
    (finding,) = findings_of([1.2, 1.05])
    assert finding.verdict is Verdict.INCONCLUSIVE


def test_a_repetition_that_fails_leaves_the_first_measurement():
    sources = iter((TableSource(probe=1), TableSource(probe=SubjectError("gone", stage="forward"))))
    (finding,) = findings_of([3.0], source=lambda: next(sources))
    assert (finding.verdict, finding.evidence.value) == (Verdict.VIOLATED, 3.0)


def test_a_statement_that_holds_is_not_measured_again():
    prop = property_of(lambda probe: evidence())
    opened = []
    fold(run(Plan((lambda: opened.append(1) or TableSource(probe=1),), (prop,)), FACTS))
    assert len(opened) == 1
