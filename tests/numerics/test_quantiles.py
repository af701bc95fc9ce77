"""Quantiles against ``scipy.stats``."""

import pytest
from scipy import stats

from gradcheck_suite.numerics import quantiles

ALPHAS = (1e-9, 1e-6, 1e-3, 0.05, 0.5, 0.9)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_continuous(alpha: float) -> None:
    assert quantiles.normal_upper(alpha) == pytest.approx(stats.norm.isf(alpha), rel=1e-12, abs=1e-15)
    for degrees in (1, 3, 31, 100_000):
        assert quantiles.student_upper(alpha, degrees) == pytest.approx(stats.t.isf(alpha, degrees), rel=1e-10, abs=1e-15)
        assert quantiles.chi_square_upper(alpha, degrees) == pytest.approx(stats.chi2.isf(alpha, degrees), rel=1e-12)
        assert quantiles.chi_square_lower(alpha, degrees) == pytest.approx(stats.chi2.ppf(alpha, degrees), rel=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("chance", [1e-12, 1e-3, 0.3, 0.5, 0.999])
def test_binomial(alpha: float, chance: float) -> None:
    for trials in (1, 2, 17, 64, 1000, 300_000):
        assert quantiles.binomial_upper(alpha, trials, chance) == int(stats.binom.isf(alpha, trials, chance))
        assert quantiles.binomial_lower(alpha, trials, chance) == int(stats.binom.ppf(alpha, trials, chance))
        for count in (-1, 0, trials // 2, trials):
            expected = pytest.approx(stats.binom.cdf(count, trials, chance), rel=1e-9, abs=1e-300)
            assert quantiles.binomial_cdf(count, trials, chance) == expected


@pytest.mark.parametrize(("alpha", "chance", "upper", "lower"), [(0.0, 0.5, 8, 0), (1.0, 0.5, 0, 8), (0.1, 0.0, 0, 0), (0.1, 1.0, 8, 8)])
def test_edges(alpha: float, chance: float, upper: int, lower: int) -> None:
    assert quantiles.binomial_upper(alpha, 8, chance) == upper
    assert quantiles.binomial_lower(alpha, 8, chance) == lower
