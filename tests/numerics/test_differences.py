"""Differences against functions whose derivative is known."""

import math

import pytest

from gradcheck_suite.numerics.differences import SINGLE, derivative, measured_noise


@pytest.mark.parametrize(("function", "slope"), [
    (math.sin, 1.0), (math.exp, 1.0), (lambda t: math.tanh(3 * t + 0.4), 3 * (1 - math.tanh(0.4) ** 2)), (lambda t: 5 * t, 5.0),
    (lambda t: 1e-9 * math.sin(t), 1e-9), (lambda t: 1e6 + math.sin(t), 1.0),
])
def test_the_error_estimate_covers_the_error(function, slope):
    found = derivative(function)
    assert abs(found.value - slope) <= 4 * found.error
    assert found.error <= 1e-6 * slope


def test_a_smooth_function_has_no_kink():
    assert not derivative(lambda t: math.exp(t) + t**3).kinked


def test_a_kink_at_the_point_shows_in_the_one_sided_slopes():
    found = derivative(lambda t: abs(t) + t)
    assert found.kinked
    assert found.jump == pytest.approx(2.0, abs=1e-6)


def test_a_kink_nearby_does_not_spoil_small_steps():
    found = derivative(lambda t: math.sin(t) + 100 * max(0.0, t - 1e-3))
    assert abs(found.value - 1.0) <= 4 * found.error


def test_outside_the_domain_smaller_steps_are_taken():
    found = derivative(lambda t: math.log(0.01 + t) if t > -0.01 else math.nan)
    assert abs(found.value - 100.0) <= 4 * found.error


def test_a_point_at_the_edge_of_the_domain_has_no_derivative():
    found = derivative(lambda t: math.sqrt(t) if t >= 0 else math.nan)
    assert math.isnan(found.value)
    assert math.isinf(found.error)


def test_noise_widens_the_error():
    def rounded(t):
        return round((2 + math.sin(t)) * 2**22) / 2**22

    found = derivative(rounded, roundoff=SINGLE, levels=5)
    assert abs(found.value - 1.0) <= 4 * found.error
    assert found.error > 1e-8


def test_enough_stops_early():
    assert derivative(math.sin, enough=1e-6).evaluations < derivative(math.sin).evaluations


def test_magnitude_counts_as_noise():
    assert derivative(math.sin, magnitude=1e6).noise >= 2e6 * 2.0**-53


def test_measured_noise_of_alternating_values():
    values = [1e-6 * (-1) ** k for k in range(8)]
    found = measured_noise(lambda t: values[round(t / 0.1)], values[0], 0.1)
    assert 1e-6 <= found <= 4e-6


def test_values_that_are_not_finite_have_infinite_noise():
    assert math.isinf(measured_noise(lambda t: math.inf, 0.0, 0.1))


def test_the_secant_tells_how_much_the_function_varies():
    assert derivative(lambda t: t**3).secant >= 0.125**2
