"""Backprop agreement judged on captures made by hand."""

import math

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.directional_derivative import DirectionalDerivative, Place, TensorComparison
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Level, Verdict

PROPERTY = catalogue.load(next(entry for entry in catalogue.entries() if entry.id == "backprop-agreement"))


def place(status="agrees", gap=1e-9, error=1e-8, **facts):
    given = {"module": "0", "kind": "Linear", "role": "alone", "calls": 1, "scale": 1.0, "tensors": ("weight",), "numeric": 2.0}
    given |= {"status": status, "analytic": 2.0 + gap, "error": error}
    return Place(**(given | facts))


def measured(*places, stale=(), skipped=()):
    capture = DirectionalDerivative(places=places, skipped=skipped, stale=stale, notes=(), converted=False, evaluations=1)
    return list(PROPERTY.measure(decode(encode(capture))))


def test_agreement_holds():
    (evidence,) = measured(place())
    assert evidence.verdict is Verdict.HOLDS
    assert evidence.value == pytest.approx(1e-9, rel=1e-3)


def test_a_blamed_place_is_violated_and_told():
    weight = TensorComparison(name="weight", role="parameter", analytic=0.9, numeric=1.0, error=1e-8, scale=1.0, entry=(3, 7),
                              entry_analytic=0.18, entry_numeric=0.2, pattern="0.9 times the derivative")
    named = {"module": "blocks.1.down", "function": "FusedGELU", "source": "mypkg/ops.py:41"}
    wrong = place("disagrees", -0.1, blamed=True, breakdown=(weight,), ruled_out=("kink",), **named)
    (evidence,) = measured(wrong)
    assert evidence.verdict is Verdict.VIOLATED
    assert evidence.value == pytest.approx(-0.1)
    where = evidence.where
    assert (where.module, where.parameter, where.entry, where.function) == ("blocks.1.down", "weight", (3, 7), "FusedGELU")
    assert "0.9 times the derivative" in evidence.note
    assert "backprop 0.18, difference 0.2" in evidence.note
    assert evidence.ruled_out == ("kink",)


def test_the_worst_tensor_counts_relative_to_its_own_scale():
    strong = TensorComparison(name="weight", role="parameter", analytic=1.0 + 1e-3, numeric=1.0, error=1e-8, scale=1.0)
    weak = TensorComparison(name="bias", role="parameter", analytic=0.5e-3, numeric=1e-3, error=1e-8, scale=1e-3)
    (evidence,) = measured(place("disagrees", 1e-3, blamed=True, breakdown=(strong, weak)))
    assert evidence.where.parameter == "bias"


@pytest.mark.parametrize("status", ["kink", "noise"])
def test_what_could_not_be_decided_is_inconclusive(status):
    (evidence,) = measured(place(status, 0.3, math.inf, kinks=("relu at 0: 3 of 8 choices change",)))
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert "relu at 0" in evidence.note


@pytest.mark.parametrize("status", ["kink", "noise", "agrees"])
def test_only_a_disagreement_can_be_violated(status):
    assert measured(place(status, 0.3, 1e-8))[0].verdict is not Verdict.VIOLATED


def test_a_gradient_that_is_not_finite_is_infinitely_far_off():
    (evidence,) = measured(place("disagrees", math.nan, 0.0, blamed=True))
    assert evidence.verdict is Verdict.VIOLATED
    assert math.isinf(evidence.value)


def test_a_missing_gradient_has_the_derivative_for_its_scale():
    (evidence,) = measured(place("disagrees", scale=0.0, analytic=0.0, numeric=3.0, blamed=True))
    assert evidence.verdict is Verdict.VIOLATED
    assert evidence.value == pytest.approx(-1.0)


def test_the_whole_is_not_blamed_beside_what_explains_it():
    whole = place("disagrees", -0.2, module="", role="whole")
    assert [e.where.module for e in measured(place("disagrees", -0.1, blamed=True), whole)] == ["0"]
    assert [e.verdict for e in measured(place(), whole)] == [Verdict.HOLDS, Verdict.VIOLATED]


def test_declared_mismatches_are_told_and_not_judged():
    (evidence,) = measured(place("disagrees", -0.5, intended="straight-through"))
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert evidence.level is Level.INDICATOR
    assert "straight-through" in evidence.note


def test_a_stale_declaration_is_told():
    *_, evidence = measured(place(), stale=(("3", "reversal"),))
    assert evidence.where.module == "3"
    assert evidence.level is Level.INDICATOR
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert "nothing disagrees" in evidence.note


def test_nothing_compared_is_never_a_pass():
    with pytest.raises(NotApplicable, match="nothing was compared"):
        measured(place("nothing"), place("not replayed", note=("it raised",)))


def test_what_was_left_out_is_shown_with_the_whole():
    harmless = place("disagrees", 0.1, module="scale", note=("no parameter is concerned",))
    evidence = measured(harmless, place(role="whole", module=""), skipped=(("0", "input ids (int64)"),))
    assert len(evidence) == 1
    (table,) = evidence[0].exhibits
    assert [row[0] for row in table.rows] == ["0", "scale"]


@pytest.mark.parametrize(("stopped", "starved", "level"), [
    ("objective", (), Level.INDICATOR), ("objective", ("0.weight",), None), ("inside", (), None), ("", (), None)])
def test_a_target_held_constant_is_an_indicator_unless_something_is_starved(stopped, starved, level):
    (evidence,) = measured(place("disagrees", -0.1, blamed=True, stopped=stopped, starved=starved))
    assert evidence.verdict is Verdict.VIOLATED
    assert evidence.level is level
