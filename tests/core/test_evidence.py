"""The verdict rule: the only judge there is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.core.evidence import Evidence, Verdict, Where

FINITE = st.floats(-1e6, 1e6)


def evidence(value, error, low, high, resolution=None):
    return Evidence(quantity="q", value=value, error=error, low=low, high=high, resolution=resolution)


@pytest.mark.parametrize(("value", "error", "low", "high", "resolution", "verdict"), [
    (0.5, 0.1, 0, 1, None, Verdict.HOLDS),
    (0.5, 0.6, 0, 1, None, Verdict.INCONCLUSIVE),
    (1.5, 0.1, 0, 1, None, Verdict.VIOLATED),
    (1.1, 0.1, 0, 1, None, Verdict.INCONCLUSIVE),
    (1e-9, 1e-8, 0, 0, 1e-6, Verdict.HOLDS),
    (1e-9, 1e-5, 0, 0, 1e-6, Verdict.INCONCLUSIVE),
    (1e-3, 1e-8, 0, 0, 1e-6, Verdict.VIOLATED),
    (5e-7, 1e-8, 0, 0, 1e-6, Verdict.VIOLATED),
    (math.nan, 0.0, 0, 1, None, Verdict.INCONCLUSIVE),
    (0.5, math.inf, 0, 1, None, Verdict.INCONCLUSIVE),
    (0.5, math.nan, 0, 1, None, Verdict.INCONCLUSIVE),
    (math.inf, 0.0, 0, 1, None, Verdict.VIOLATED),
    (3.0, 0.0, -math.inf, 4.0, None, Verdict.HOLDS),
    (math.inf, 0.0, 0, math.inf, None, Verdict.INCONCLUSIVE),
    (-math.inf, 0.0, -math.inf, 4.0, None, Verdict.INCONCLUSIVE),
    (0.0, 0.0, 0, 0, None, Verdict.HOLDS),
])
def test_the_rule(value, error, low, high, resolution, verdict):
    assert evidence(value, error, low, high, resolution).verdict is verdict


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan)])
def test_bounds_that_nothing_can_meet_are_refused(low, high):
    with pytest.raises(ValueError, match="no value lies between"):
        evidence(0.5, 0.1, low, high)


@given(FINITE, st.floats(0, 1e6), FINITE, st.floats(0, 1e6), st.none() | st.floats(0, 1e3))
def test_a_violation_is_disjoint_from_the_bounds_and_nothing_else(value, error, low, width, resolution):
    high = low + width
    disjoint = value - error > high or value + error < low
    assert (evidence(value, error, low, high, resolution).verdict is Verdict.VIOLATED) == disjoint


@given(FINITE, st.floats(0, 1e6), FINITE, st.floats(0, 1e6))
def test_more_error_never_turns_into_a_firmer_verdict(value, error, low, width):
    before = evidence(value, error, low, low + width).verdict
    after = evidence(value, 2 * error + 1, low, low + width).verdict
    assert after in (before, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(("where", "text"), [
    (Where(), ""),
    (Where(module=""), "the whole model"),
    (Where(module="a.b", parameter="weight", entry=(3, 7)), "a.b.weight[3, 7]"),
    (Where(module="a", function="Fused", source="ops.py:41"), "a (Fused, ops.py:41)"),
    (Where(source="ops.py:41"), "(ops.py:41)"),
])
def test_a_place_reads_as_one_path(where, text):
    assert str(where) == text
