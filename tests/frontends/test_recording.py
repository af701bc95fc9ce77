"""How a test ends, and what a session records, without running a model."""

import json
import warnings
from types import SimpleNamespace

import pytest

from gradcheck_suite.api import Shared
from gradcheck_suite.commands.checking import Choice
from gradcheck_suite.commands.recording import FINDINGS, Asked, IndicatorWarning, Recorder, conclude
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.evidence import Evidence, Level, Verdict
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.engine.check import check
from tests.engine.fakes import TableSource, evidence, property_of


def found(value, level=Level.REQUIREMENT, **facts):
    return check(property_of(lambda probe: evidence(value, **facts), level=level), TableSource(probe=1))


HOLDS, VIOLATED, UNDECIDED = found(0.0), found(1.0), found(0.0, error=float("inf"))
WARNS = found(1.0, Level.INDICATOR)
FAILED = check(property_of(lambda probe: ()), TableSource(probe=SubjectError("gone", stage="forward")))
UNMET = check(property_of(lambda probe: evidence(), conditions=(lambda probe: "it has no layers",)), TableSource(probe=1))


@pytest.mark.parametrize("findings", [VIOLATED, FAILED, HOLDS + VIOLATED, UNDECIDED + VIOLATED])
def test_errors_and_violated_requirements_fail(findings):
    with pytest.raises(pytest.fail.Exception, match=r"VIOLATED f/p|ERROR f/p"):
        conclude(findings, Level.REQUIREMENT)


def test_a_violated_indicator_is_a_warning_and_fails_where_that_is_asked_for():
    with pytest.warns(IndicatorWarning, match=r"VIOLATED f/p \(indicator\)"):
        conclude(HOLDS + WARNS, Level.REQUIREMENT)
    with pytest.raises(pytest.fail.Exception, match=r"VIOLATED f/p \(indicator\)"):
        conclude(WARNS, Level.INDICATOR)


def test_what_could_not_be_decided_is_skipped_with_its_text_and_never_passes():
    with pytest.raises(pytest.skip.Exception, match=r"INCONCLUSIVE f/p.*\n.*A statement"):
        conclude(HOLDS + UNDECIDED, Level.REQUIREMENT)
    with pytest.raises(pytest.skip.Exception, match="it has no layers"):
        conclude(UNMET, Level.REQUIREMENT)


def test_what_holds_passes_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conclude(HOLDS, Level.INDICATOR)


def test_a_check_under_pytest_confirms_a_violation_from_a_second_source_as_a_run_does():
    values, opened = iter((3.0, 0.5, 3.0, 3.0)), []
    prop = property_of(lambda probe: Evidence(quantity="q", value=next(values), error=0.1, low=0.0, high=1.0))
    shared = Shared(lambda: opened.append(TableSource(probe=1)) or opened[-1])
    (flaky,), _ = shared.check(prop)
    (lasting,), notes = shared.check(prop)
    assert "not deterministic" in flaky.message
    assert (lasting.verdict, lasting.evidence.value, notes) == (Verdict.VIOLATED, 3.0, ())
    assert len(opened) == 2
    shared.close()
    assert all(source.closed for source in opened)


def test_a_repetition_that_fails_is_noted():
    sources = iter((TableSource(probe=1), TableSource(probe=SubjectError("gone", stage="forward"))))
    findings, notes = Shared(lambda: next(sources)).check(property_of(lambda probe: evidence(1.0)))
    assert findings[0].verdict is Verdict.VIOLATED
    assert "the repetition ended with an error" in notes[0]


@pytest.fixture
def recorder(tmp_path):
    config = SimpleNamespace(getoption=lambda name: ["json"], invocation_params=SimpleNamespace(args=("--gradcheck", "a:b")))
    plan = Asked(openings=(), choice=Choice(), folder=tmp_path, fail_on=Level.REQUIREMENT, replay="gradcheck replay {}".format)
    return Recorder(config, plan)


def ended(name, findings=None, outcome="passed"):
    properties = [] if findings is None else [(FINDINGS, to_data(list(findings)))]
    return SimpleNamespace(nodeid=name, when="call", duration=0.5, user_properties=properties, failed=outcome == "failed",
                           passed=outcome == "passed", longrepr="worker gone")


NAMES = [f"gradcheck::a:b::f/{name}" for name in ("p", "q", "r")]


def recorded(recorder, folder):
    recorder.pytest_sessionfinish()
    (path,) = folder.glob("*/report.json")
    return json.loads(path.read_text())["run"]


def test_a_stopped_session_is_incomplete_and_counts_what_was_selected(recorder, tmp_path):
    recorder.pytest_xdist_node_collection_finished([*NAMES, "test_other.py::test"])
    recorder.pytest_xdist_node_collection_finished(NAMES)
    recorder.pytest_runtest_logreport(ended(NAMES[0], HOLDS))
    recorder.pytest_runtest_logreport(ended("test_other.py::test"))
    run = recorded(recorder, tmp_path)
    assert (run["complete"], run["checks_done"], run["checks_planned"]) == (False, 1, 3)
    assert run["notes"] == ["the session was stopped before 2 of 3 checks had run"]
    assert run["seconds"] > 0


def test_a_session_that_ran_to_its_end_is_complete_also_where_a_check_was_lost_or_skipped_by_a_mark(recorder, tmp_path):
    recorder.pytest_collection_finish(SimpleNamespace(items=[SimpleNamespace(nodeid=name) for name in NAMES]))
    recorder.pytest_runtest_logreport(ended(NAMES[0], HOLDS))
    recorder.pytest_runtest_logreport(ended(NAMES[1], None, "failed"))
    recorder.pytest_runtest_logreport(ended(NAMES[2], None, "skipped"))
    run = recorded(recorder, tmp_path)
    assert (run["complete"], run["checks_done"], run["notes"]) == (True, 2, [])
