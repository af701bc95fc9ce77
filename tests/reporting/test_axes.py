"""Axes: finite, ordered and labelled for any numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.reporting.axes import Axis, axis_of, integers

NUMBERS = st.lists(st.floats(), max_size=8)


@given(NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_an_axis_shows_every_drawable_value(values, spread, band, log):
    axis = axis_of(values, log=log, spread=spread, band=band)
    assert math.isfinite(axis.low)
    assert math.isfinite(axis.high)
    assert axis.low < axis.high
    for place in filter(math.isfinite, map(axis.of, values)):
        assert axis.low <= place <= axis.high
    for value in (*values, *spread, *band):
        assert axis.low <= axis.clipped(value) <= axis.high


@given(NUMBERS, st.booleans())
def test_ticks_are_few_and_labelled(values, log):
    axis = axis_of(values, log=log)
    ticks = axis.ticks()
    assert len(ticks) <= 8
    assert all(axis.label(tick) for tick in ticks)


def test_powers_of_ten_where_they_are_spanned():
    axis = axis_of([1e-8, 1.0], log=True)
    assert [axis.label(tick) for tick in axis.ticks()] == ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]


def test_plain_numbers_near_one():
    axis = axis_of([0.05, 20.0], log=True)
    assert [axis.label(tick) for tick in axis.ticks()] == ["0.1", "1", "10"]


def test_a_narrow_logarithmic_axis_has_plain_ticks():
    axis = axis_of([1.0, 2.0], log=True)
    assert "1" in [axis.label(tick) for tick in axis.ticks()]


@pytest.mark.parametrize("log", [True, False])
def test_a_wide_band_does_not_flatten_the_data(log):
    axis = axis_of([1.0, 2.0, 3.0], log=log, band=[1e-30, 1e30])
    low, high = axis.of(1.0), axis.of(3.0)
    assert (high - low) / (axis.high - axis.low) > 0.1


def test_zero_has_no_place_on_a_logarithmic_axis():
    assert axis_of([1.0], log=True).of(0.0) == -math.inf
    assert axis_of([1.0], log=True).of(-1.0) == -math.inf


def test_whole_numbers():
    assert integers([1.0, 2.0, math.nan])
    assert not integers([1.5])


@pytest.mark.parametrize("exponent", [307.5, -307.5])
def test_logarithmic_axes_reach_the_ends_of_floating_point(exponent):
    assert all(abs(tick) <= 308 for tick in Axis(exponent - 0.5, exponent + 0.6, True).ticks())
