"""Numbers for people: cut where the error begins, never further from the truth than the last digit shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.reporting.numbers import allowed, measured, plain

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def value_of(text: str) -> float:
    """The number that a text shows."""
    ascii_text = text.translate(DIGITS)
    mantissa, times, exponent = ascii_text.partition(" × 10")
    if times:
        return float(f"{mantissa}e{exponent}")
    if any(mark in text for mark in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"):
        sign, _, exponent = ascii_text.partition("10")
        return float(f"{sign}1e{exponent}")
    return float(ascii_text)


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0"), (1.0, "1"), (-0.5, "−0.5"), (123456.0, "123456"), (0.0312, "0.0312"), (1e-6, "10⁻⁶"), (-1e-6, "−10⁻⁶"),
    (3.1e-7, "3.1 × 10⁻⁷"), (1.5e300, "1.5 × 10³⁰⁰"), (5e-324, "4.94066 × 10⁻³²⁴"), (math.inf, "∞"), (-math.inf, "−∞"),
    (math.nan, "not a number"),
])
def test_plain(value, text):
    assert plain(value) == text


@pytest.mark.parametrize(("value", "error", "text"), [
    (0.0312, 0.0004, "0.03120 ± 0.00040"), (3.1234e-7, 4e-9, "(3.123 ± 0.040) × 10⁻⁷"), (-0.687, 0.041, "−0.687 ± 0.041"),
    (0.3, 1e-17, "0.3 ± 10⁻¹⁷"), (5.0, 100.0, "5 ± 100"), (0.0, 0.0, "0 (exact)"), (0.0, 1e-9, "(0.0 ± 1.0) × 10⁻⁹"),
    (math.nan, math.inf, "not a number ± ∞"), (1e300, 1e299, "(1.00 ± 0.10) × 10³⁰⁰"), (12.3, 0.097, "12.300 ± 0.097"),
    (0.020185312, 1e-8, "0.02018531 ± 10⁻⁸"), (123456.7, 0.5, "123456.7 ± 0.5"),
])
def test_measured(value, error, text):
    assert measured(value, error) == text


@given(FINITE, st.floats(min_value=0.0, allow_nan=False))
def test_any_measurement_has_one_sign_of_uncertainty_and_a_readable_length(value, error):
    text = measured(value, error)
    assert text.count("±") + text.count("(exact)") == 1
    assert len(text) < 60


@given(FINITE)
def test_plain_is_true_to_its_digits(value):
    assert value_of(plain(value)) == pytest.approx(value, rel=1e-5, abs=5e-324)


@given(st.floats(1e-3, 1e5), st.floats(1e-3, 1e3))
def test_value_and_error_are_shown_to_two_digits_of_the_error(value, error):
    text = measured(value, error)
    power = text.partition(") × ")[2]
    shown, _, spread = text.strip("(").partition(")")[0].partition(" ± ")
    unit = value_of(power) if power else 1.0
    assert abs(value_of(shown) * unit - value) <= 0.1 * error + 1e-5 * value
    assert value_of(spread) * unit == pytest.approx(error, rel=0.06)


@pytest.mark.parametrize(("low", "high", "resolution", "text"), [
    (0.0, 1e-7, None, "between 0 and 10⁻⁷"), (1.0, 1.0, 0.01, "exactly 1, resolved to 0.01"), (-math.inf, 2.0, None, "at most 2"),
    (0.05, math.inf, None, "at least 0.05"), (-math.inf, math.inf, None, "anything"),
])
def test_allowed(low, high, resolution, text):
    assert allowed(Evidence(quantity="q", value=0.0, error=0.0, low=low, high=high, resolution=resolution)) == text
