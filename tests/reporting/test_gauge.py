"""The gauge: inside its picture for any numbers, in their order, and never showing a violated value inside the allowed zone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.reporting.gauge import WIDTH, gauge, scale_of

ANY = st.floats()
ERROR = st.floats(min_value=0.0)
ROUNDING = 0.11  # places are rounded to a tenth


@st.composite
def evidences(draw):
    low, high = sorted([draw(st.floats(allow_nan=False)), draw(st.floats(allow_nan=False))])
    resolution = draw(st.none() | st.floats(min_value=0.0, max_value=1e300))
    return Evidence(quantity="q", value=draw(ANY), error=draw(ERROR), low=low, high=high, resolution=resolution)


@given(evidences())
def test_everything_lies_inside_the_picture(evidence):
    drawn = gauge(evidence)
    places = [*(drawn.zone or ()), *(drawn.slack or ()), *(drawn.error or ()), *([] if drawn.value is None else [drawn.value])]
    assert all(0 <= place <= WIDTH for place in places)
    for label in (*drawn.bounds, *([drawn.label] if drawn.label else [])):
        assert label.left >= -1
        assert label.right <= WIDTH + 1


@given(evidences())
def test_a_violated_value_is_drawn_outside_the_zone(evidence):
    drawn = gauge(evidence)
    if evidence.verdict is Verdict.VIOLATED:
        (low, high), (least, most) = drawn.zone, drawn.error
        assert most <= low + ROUNDING or least >= high - ROUNDING


@given(evidences(), ANY, ANY)
def test_order_is_kept(evidence, first, second):
    scale = scale_of(evidence)
    if math.isfinite(first) and math.isfinite(second):
        low, high = sorted([first, second])
        assert scale.at(low) <= scale.at(high)


def test_a_tiny_bound_and_a_large_value_are_both_seen():
    drawn = gauge(Evidence(quantity="q", value=0.03, error=1e-4, low=0.0, high=1e-7))
    assert drawn.zone[1] - drawn.zone[0] > 10
    assert drawn.value - drawn.zone[1] > 100


def test_nothing_measured_draws_no_value():
    drawn = gauge(Evidence(quantity="q", value=math.nan, error=math.inf, low=0.0, high=1.0))
    assert drawn.value is None
    assert drawn.error is None
    assert drawn.zone is not None


def test_an_unknown_error_spans_the_picture():
    assert gauge(Evidence(quantity="q", value=0.5, error=math.inf, low=0.0, high=1.0)).error == (0.0, WIDTH)


@pytest.mark.parametrize(("low", "high", "labels"), [
    (0.0, 1.0, ["0", "1"]), (1.0, 1.0, ["1"]), (-math.inf, 2.0, ["2"]), (0.5, math.inf, ["0.5"]), (-math.inf, math.inf, []),
])
def test_finite_bounds_are_labelled(low, high, labels):
    drawn = gauge(Evidence(quantity="q", value=0.5, error=0.1, low=low, high=high))
    assert [label.text for label in drawn.bounds] == labels


def test_bounds_too_close_for_two_labels_share_one():
    drawn = gauge(Evidence(quantity="q", value=1e9, error=1.0, low=0.001, high=0.002))
    assert [label.text for label in drawn.bounds] == ["0.001 to 0.002"]


def test_one_sided_bounds_are_open_to_the_edge():
    assert gauge(Evidence(quantity="q", value=0.5, error=0.1, low=0.0, high=math.inf)).zone[1] == WIDTH
    assert gauge(Evidence(quantity="q", value=0.5, error=0.1, low=-math.inf, high=0.0)).zone[0] == 0.0
