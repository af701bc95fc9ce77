"""The exact law and its bands against networks of real matrices, closed forms and planted gain errors."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from gradcheck_suite.numerics.activations import activation, rectifier
from gradcheck_suite.numerics.chi_square_products import ChiSquare, Share, gradient_law, layer_law
from gradcheck_suite.numerics.simulator import simulate


def networks(widths, variances, phis, count, generator):
    """Squared norms of real networks of Gaussian matrices: log signal, log gradient, log gradient per layer."""
    x = generator.standard_normal((count, widths[0]))
    start, matrices, slopes = (x**2).sum(1), [], []
    for width, variance, phi in zip(widths[1:], variances, phis, strict=True):
        matrices.append(generator.standard_normal((count, width, x.shape[1])) * math.sqrt(variance))
        h = np.einsum("mij,mj->mi", matrices[-1], x)
        slopes.append(phi.derivative(h))
        x = phi.value(h)
    gradient = generator.standard_normal((count, widths[-1]))
    norms = [(gradient**2).sum(1)]
    for matrix, slope in zip(matrices[::-1], slopes[::-1], strict=True):
        gradient = np.einsum("mij,mi->mj", matrix, gradient * slope)
        norms.append((gradient**2).sum(1))
    with np.errstate(divide="ignore"):
        return np.log((x**2).sum(1) / start), np.log(norms[-1] / norms[0]), np.log(np.array(norms[::-1]).T)


LAYOUTS = [([7, 12, 5, 20, 3], 0.0), ([6, 6, 6, 6, 6, 2], 0.2), ([3, 4, 5, 4, 2], 0.0), ([4, 1, 3], 0.3)]
PAIRS = [("tanh", 1.0), ("tanh", 2.5), ("gelu", 2.0), ("selu", 1.0), ("sigmoid", 1.0), ("hardtanh", 1.5)]


@pytest.mark.parametrize(("widths", "slope"), LAYOUTS)
def test_law_is_that_of_real_networks(widths, slope):
    generator = np.random.default_rng(0)
    variances = [2 / (1 + slope**2) / n for n in widths[:-1]]
    slopes = [slope] * (len(widths) - 2) + [1.0]
    _, gradient, layers = networks(widths, variances, [rectifier(s) for s in slopes], 4000, generator)
    alive = np.isfinite(gradient)
    law = gradient_law(widths, variances, slopes)
    assert ks_2samp(gradient[alive], law.sample(20000, generator)).pvalue > 1e-3
    assert (~alive).mean() == pytest.approx(law.dead, abs=4 * math.sqrt(max(law.dead, 1e-9) / 4000) + 1e-12)
    error = 5 * math.sqrt(law.variance / alive.sum())
    assert gradient[alive].mean() == pytest.approx(law.mean, abs=error)
    first = layer_law(widths[0], widths[1], variances[0], slopes[0])
    ratio = layers[alive, 0] - layers[alive, 1]
    assert ks_2samp(ratio, first.sample(20000, generator)).pvalue > 1e-3


def test_the_mean_ratio_is_exact():
    """He at every layer: E ‖Jᵀu‖²/‖u‖² = 2 for every width and depth; torch's default loses 1/6 per hidden layer."""
    widths = [5, 9, 4, 17, 3]
    he = gradient_law(widths, [2 / n for n in widths[:-1]], [0.0, 0.0, 0.0, 1.0])
    unconditional = he.cumulant(1.0) + sum(math.log1p(-factor.dead) for factor in he.factors if isinstance(factor, Share))
    assert math.exp(unconditional) == pytest.approx(2.0, rel=1e-12)
    assert ChiSquare(7, 0.5).log_moment(2.0) == pytest.approx(math.log(0.25 * 7 * 9))
    one = gradient_law([64] * 3 + [1], [1 / (3 * 64)] * 3, [0.0, 0.0, 1.0])
    two = gradient_law([64] * 4 + [1], [1 / (3 * 64)] * 4, [0.0, 0.0, 0.0, 1.0])
    assert math.exp(two.cumulant(1.0) - one.cumulant(1.0)) == pytest.approx(1 / 6, rel=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2])
def test_moments_follow_from_the_cumulants(slope):
    law = gradient_law([8, 8, 8, 2], [0.1, 0.2, 0.3], [slope, slope, 1.0])
    step = 1e-4
    assert law.cumulant(0.0) == pytest.approx(0.0, abs=1e-10)
    assert (law.cumulant(step) - law.cumulant(-step)) / (2 * step) == pytest.approx(law.mean, rel=1e-6)
    assert (law.cumulant(step) + law.cumulant(-step)) / step**2 == pytest.approx(law.variance, rel=1e-4)


def test_expansion_of_hanin():
    """Var log ≈ 2/n_0 + 5 Σ 1/n_l, the sum of reciprocal widths."""
    widths = [200, 300, 250, 400, 10]
    law = gradient_law(widths, [2 / n for n in widths[:-1]], [0.0, 0.0, 0.0, 1.0])
    expected = 2 / 200 + 5 * (1 / 300 + 1 / 250 + 1 / 400)
    assert law.variance == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("draws", "width", "depth", "slope"), [(1, 16, 5, 0.0), (8, 6, 10, 0.0), (32, 64, 10, 0.0), (8, 8, 4, 0.1)])
def test_band_keeps_its_promise_and_is_tight(draws, width, depth, slope):
    widths = [width] * (depth + 1) + [1]
    law = gradient_law(widths, [2 / (1 + slope**2) / width] * (depth + 1), [slope] * depth + [1.0])
    generator = np.random.default_rng(1)
    low, high = law.band(draws, 0.01)
    means = law.sample(20000 * draws, generator).reshape(20000, draws).mean(1)
    assert ((means < low) | (means > high)).mean() <= 0.01
    z = 2.576 * math.sqrt(law.variance / draws)
    assert high - low < 3 * 2 * z
    assert low < law.mean < high


def test_band_of_the_literature_case():
    """Width 64, ten hidden layers, 32 draws at 1e-6: ±0.9 around the mean; Glorot for He shifts by 10·log 2."""
    law = gradient_law([64] * 11 + [1], [2 / 64] * 10 + [1 / 64], [0.0] * 10 + [1.0])
    low, high = law.band(32, 1e-6)
    assert (low - law.mean, high - law.mean) == pytest.approx((-0.92, 0.87), abs=0.01)
    assert 10 * math.log(2) > high - low


def test_dead_layers_have_an_exact_probability():
    law = gradient_law([3, 4, 5, 4, 6, 4, 2], [1.0] * 6, [0.0] * 5 + [1.0])
    assert law.dead == pytest.approx(1 - (1 - 2.0**-4) ** 3 * (1 - 2.0**-5) * (1 - 2.0**-6), rel=1e-12)
    assert law.dead_limit(32, 1e-6) > 32 * law.dead
    assert gradient_law([3, 4, 2], [1.0, 1.0], [0.1, 1.0]).dead_limit(32, 1e-6) == 0


@pytest.mark.parametrize(("kind", "gain"), PAIRS)
def test_simulator_has_the_law_of_real_networks(kind, gain):
    generator = np.random.default_rng(3)
    widths = [9, 10, 7, 12, 4]
    variances = [gain / n for n in widths[:-1]]
    phis = [activation(kind)] * 3 + [activation("identity")]
    reference = simulate(phis, widths, variances, input_norm=3.0, draws=8000, generator=generator)
    x = generator.standard_normal((4000, 9))
    real = networks_from(3.0 * x / np.linalg.norm(x, axis=1, keepdims=True), widths, variances, phis, generator)
    assert ks_2samp(real[0], reference.signal).pvalue > 1e-3
    assert ks_2samp(real[1], reference.gradient).pvalue > 1e-3
    assert reference.layers.shape == (8000, 4)
    np.testing.assert_array_equal(reference.layers[:, 0], reference.gradient)


def networks_from(x, widths, variances, phis, generator):
    class Given:
        """A generator whose first draw is the given input."""

        def __init__(self):
            self.first = True

        def standard_normal(self, shape):
            if self.first:
                self.first = False
                return x
            return generator.standard_normal(shape)

    return networks(widths, variances, phis, len(x), Given())[:2]
