"""The reference of rectifier chains: which networks it accepts, what factor it reads, what it adds for uniform weights."""

import math

import numpy as np
import pytest

from gradcheck_suite.numerics.chi_square_products import gradient_law
from gradcheck_suite.numerics.rectifier_test import reference

WIDTHS, SLOPES = (32, 32, 32, 32, 32, 10), (0.0, 0.0, 0.0, 0.0, 1.0)


def make(modes=("in",), kurtosis=0.0, last=1 / 32, widths=WIDTHS):
    return reference(widths, SLOPES, modes, last_square=np.full(32, last), kurtosis=np.full(5, kurtosis), concentration=0.1)


def test_the_band_holds_the_mean_of_the_critical_law():
    law = make()
    mean = gradient_law(WIDTHS, [2 / 32] * 4 + [1 / 32], SLOPES).mean
    low, high = law.band(32, 1e-6)
    assert low < mean < high
    assert law.factor(mean, 32)[0] == pytest.approx(1.0)
    assert law.hidden == 4


def test_the_factor_of_a_wrong_variance_is_read_off():
    law = make()
    mean = gradient_law(WIDTHS, [1 / 96] * 4 + [1 / 32], SLOPES).mean
    factor, spread = law.factor(mean, 32)
    assert factor == pytest.approx(1 / 6)
    assert 0 < spread < 0.2 * factor
    assert mean < law.band(32, 1e-6)[0]


def test_uniform_weights_widen_the_upper_edge_only():
    plain, uniform = make(), make(kurtosis=-1.2)
    added = 1.2 * (0.1 / 32 + 3 * 6 / 32**2 + 6 / 320)
    assert uniform.band(8, 1e-3)[0] == pytest.approx(plain.band(8, 1e-3)[0])
    assert uniform.band(8, 1e-3)[1] - plain.band(8, 1e-3)[1] == pytest.approx(added)
    heavy = make(kurtosis=3.0)
    assert heavy.band(8, 1e-3)[1] == pytest.approx(plain.band(8, 1e-3)[1])
    assert heavy.band(8, 1e-3)[0] < plain.band(8, 1e-3)[0]


def test_either_fan_is_accepted_where_none_is_declared():
    widths = (64, 16, 16, 16, 16, 10)
    both, inner, outer = make(("in", "out"), widths=widths), make(("in",), widths=widths), make(("out",), widths=widths)
    edges = [law.band(16, 1e-4) for law in (inner, outer)]
    assert both.band(16, 1e-4) == (min(low for low, _ in edges), max(high for _, high in edges))


def test_the_last_matrix_is_taken_as_measured():
    small, large = make(last=1 / 32), make(last=10 / 32)
    assert large.band(32, 1e-6)[0] - small.band(32, 1e-6)[0] == pytest.approx(math.log(10))
    assert 0 < small.error < 0.1


def test_bands_of_single_layers_and_of_dead_draws():
    law = make()
    low, high = law.layer_band(1, 32, 1e-6)
    assert low < -2 / 32 < high
    assert high < math.log(2)
    assert law.dead_probability == pytest.approx(4 * 2.0**-32, rel=1e-6)
    assert law.dead_limit(32, 1e-6) == 0
