"""The law of residual blocks against blocks of real matrices, its expectation, and the two-stage score."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from gradcheck_suite.numerics.residual_law import simulate_blocks, two_stage_score


def blocks(width, hidden, slope, variances, count, generator):
    """log ||J^T u||²/||u||² of real residual networks."""
    x, kept = generator.standard_normal((count, width)), []
    for units in hidden:
        first = generator.standard_normal((count, units, width)) * math.sqrt(variances[0])
        second = generator.standard_normal((count, width, units)) * math.sqrt(variances[1])
        h = np.einsum("mij,mj->mi", first, x)
        mask = np.where(h > 0, 1.0, slope)
        kept.append((first, second, mask))
        x = x + np.einsum("mij,mj->mi", second, h * mask)
    g = generator.standard_normal((count, width))
    start = (g**2).sum(1)
    for first, second, mask in kept[::-1]:
        g = g + np.einsum("mij,mi->mj", first, np.einsum("mij,mi->mj", second, g) * mask)
    return np.log((g**2).sum(1) / start)


@pytest.mark.parametrize(("hidden", "slope"), [((7, 9, 5), 0.0), ((6, 6), 0.3), ((3,) * 5, 0.0)])
def test_law_is_that_of_real_blocks(hidden, slope):
    generator = np.random.default_rng(0)
    real = blocks(8, hidden, slope, (0.2, 0.1), 4000, generator)
    drawn = simulate_blocks(8, hidden, [slope] * len(hidden), [0.02] * len(hidden), draws=20000, generator=generator)
    assert ks_2samp(real, drawn).pvalue > 1e-3
    expected = sum(math.log1p(8 * h * 0.02 * (1 + slope**2) / 2) for h in hidden)
    assert np.exp(drawn).mean() == pytest.approx(math.exp(expected), rel=0.1)


def test_a_single_feature_is_allowed():
    assert np.isfinite(simulate_blocks(1, [3], [0.0], [0.1], draws=50, generator=np.random.default_rng(0))).all()


def test_both_halves_must_deviate():
    generator = np.random.default_rng(1)
    reference = generator.standard_normal(5000)
    assert abs(two_stage_score(generator.standard_normal(32) + 2, reference)) > 3.29
    half = np.concatenate([generator.standard_normal(16) + 3, generator.standard_normal(16)])
    assert abs(two_stage_score(half, reference)) < 3.29
    assert two_stage_score(generator.standard_normal(32) - 2, reference) < 0
