"""Where a property meets a subject: conditions, folding, failures."""

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.evidence import Level, Verdict, Where
from gradcheck_suite.engine.check import check
from tests.engine.fakes import TableSource, evidence, property_of


def test_places_that_hold_are_folded_and_others_stand_alone():
    values = {"a": 0.0, "b": 5.0, "c": 0.0, "d": 0.0}
    pieces = [evidence(where=Where(module=name), value=value, resolution=1.0) for name, value in values.items()]
    findings = check(property_of(lambda probe: probe), TableSource(probe=pieces))
    assert [(f.verdict, f.where.module, f.places) for f in findings] == [(Verdict.VIOLATED, "b", 1), (Verdict.HOLDS, None, 3)]


def test_the_tightest_of_those_that_hold_is_shown():
    pieces = [evidence(value=value, low=0.0, high=10.0) for value in (5.0, 9.0, 3.0)]
    (finding,) = check(property_of(lambda probe: probe), TableSource(probe=pieces))
    assert finding.evidence.value == 9.0


def test_an_unmet_condition_is_told_and_nothing_more_is_measured():
    source = TableSource(cheap=1, dear=2)
    prop = property_of(lambda dear: evidence(), conditions=(lambda cheap: "the model has no weights",))
    (finding,) = check(prop, source)
    assert (finding.verdict, finding.reason, source.asked) == (Verdict.NOT_APPLICABLE, "the model has no weights", ["cheap"])


def test_a_probe_may_say_not_applicable():
    (finding,) = check(property_of(lambda probe: evidence()), TableSource(probe=NotApplicable("an instance cannot be redrawn")))
    assert (finding.verdict, finding.reason) == (Verdict.NOT_APPLICABLE, "an instance cannot be redrawn")


def test_a_failing_subject_is_an_error_with_stage_and_module():
    failure = SubjectError("killed by SIGSEGV", stage="backward", module="encoder.0", details="tail")
    (finding,) = check(property_of(lambda probe: evidence()), TableSource(probe=failure))
    assert finding.verdict is Verdict.ERROR
    assert (finding.where.module, finding.details) == ("encoder.0", "tail")
    assert "backward" in finding.reason


def test_nothing_compared_is_never_a_pass():
    (finding,) = check(property_of(lambda probe: []), TableSource(probe=1))
    assert finding.verdict is Verdict.NOT_APPLICABLE


def test_a_property_that_raises_is_an_error_of_that_property_and_not_the_end_of_the_run():
    (finding,) = check(property_of(lambda probe: 1 / 0), TableSource(probe=1))
    assert finding.verdict is Verdict.ERROR
    assert "ZeroDivisionError" in finding.reason


def test_evidence_may_lower_the_level():
    prop = property_of(lambda probe: evidence(3.0, level=Level.INDICATOR))
    assert check(prop, TableSource(probe=1))[0].level is Level.INDICATOR


def test_ids_are_stable_and_tell_places_apart():
    pieces = [evidence(1.0, where=Where(module=name)) for name in ("a", "b")]
    prop, source = property_of(lambda probe: probe), TableSource(probe=pieces)
    first, second = check(prop, source), check(prop, source)
    assert [f.id for f in first] == [f.id for f in second]
    assert len({f.id for f in first}) == 2


def test_paths_below_the_working_directory_are_told_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    piece = evidence(3.0, where=Where(source=f"{tmp_path}/net.py:4"), note=f"stopped at {tmp_path}/net.py:7")
    (finding,) = check(property_of(lambda probe: piece), TableSource(probe=1))
    assert finding.where.source == "net.py:4"
    assert "stopped at net.py:7" in finding.message
