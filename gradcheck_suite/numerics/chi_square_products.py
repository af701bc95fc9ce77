"""The exact law of gradient and signal norms in rectifier networks of finite width, and bands that it must lie in.

With independent Gaussian weights of variance v and biases that are zero or symmetric, the squared norm of a random cotangent is
multiplied on its way back by independent factors: v·χ²_n at every weight matrix with n inputs, and at every rectifier with n
units by the share Q of the squared norm that it lets through, Q = B + a²(1-B) with B ~ Beta(K/2, (n-K)/2), K ~ Binomial(n, 1/2) and
a the negative slope. The masks are fair coins, independent of everything else, because flipping the sign of a row of a weight matrix
flips its mask bit and keeps the law (Hanin and Nica 2020, "Products of many large random matrices and gradients in deep
neural networks"). Bands are Chernoff bounds on the mean of N logarithms: they hold for every N, width and depth.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.special import digamma, gammaln, logsumexp, polygamma

from gradcheck_suite.numerics.quantiles import binomial_cdf, binomial_lower, binomial_upper

_PANELS: Final = 64
_NODES: Final = 20
_REACH: Final = 20.0


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """``variance``·χ² with ``width`` degrees of freedom: a weight matrix with that many inputs."""

    width: int
    variance: float

    def log_moment(self, t: float, fewest: int = 0) -> float:
        """log E X^t, for t > -width/2."""
        return t * math.log(2 * self.variance) + float(gammaln(self.width / 2 + t) - gammaln(self.width / 2))

    @property
    def log_mean(self) -> float:
        """E log X."""
        return float(digamma(self.width / 2)) + math.log(2 * self.variance)

    @property
    def log_variance(self) -> float:
        """Var log X."""
        return float(polygamma(1, self.width / 2))

    def sample(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Draws of X."""
        result: np.ndarray = self.variance * generator.chisquare(self.width, size)
        return result


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a squared norm that ``width`` rectifiers with negative ``slope`` let through.

    With slope 0 the law is conditioned on at least one unit being active (no dead layer).
    """

    width: int
    slope: float

    @property
    def dead(self) -> float:
        """Probability that no unit is active and nothing passes."""
        return 0.0 if self.slope else 0.5**self.width

    def log_moment(self, t: float, fewest: int = 0) -> float:
        """log E X^t, given that at least ``fewest`` units are active; for slope 0, t > -max(fewest, 1)/2."""
        values, weights = _share_law(self.width, self.slope, max(fewest, 0 if self.slope else 1))
        if self.slope:
            return float(logsumexp(weights + t * values))
        half, count = self.width / 2, values / 2
        ratio = gammaln(count + t) - gammaln(count) + gammaln(half) - gammaln(half + t)
        return float(logsumexp(weights + ratio))

    @property
    def log_mean(self) -> float:
        """E log X."""
        return self._log_moments[0]

    @property
    def log_variance(self) -> float:
        """Var log X."""
        return self._log_moments[1]

    @property
    def _log_moments(self) -> tuple[float, float]:
        values, weights = _share_law(self.width, self.slope, 0 if self.slope else 1)
        probability = np.exp(weights)
        if self.slope:
            mean = float(probability @ values)
            return mean, float(probability @ (values - mean) ** 2)
        given = digamma(values / 2) - digamma(self.width / 2)
        mean = float(probability @ given)
        inner = polygamma(1, values / 2) - polygamma(1, self.width / 2)
        return mean, float(probability @ (inner + (given - mean) ** 2))

    def sample(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Draws of X."""
        active = generator.binomial(self.width, 0.5, size)
        while not self.slope and (active == 0).any():
            active[active == 0] = generator.binomial(self.width, 0.5, int((active == 0).sum()))
        on = generator.chisquare(np.maximum(active, 1)) * (active > 0)
        off = generator.chisquare(np.maximum(self.width - active, 1)) * (active < self.width)
        passed: np.ndarray = (on + self.slope**2 * off) / (on + off)
        return passed


Factor = ChiSquare | Share


@functools.lru_cache(maxsize=256)
def _share_law(width: int, slope: float, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Support and log weights: numbers of active units for slope 0, else log X at the nodes of a quadrature over B = sin²θ."""
    reach = _REACH * math.sqrt(width) + _REACH
    counts = np.arange(max(fewest, math.floor(width / 2 - reach), 0), min(width, math.ceil(width / 2 + reach)) + 1)
    weights = gammaln(width + 1) - gammaln(counts + 1) - gammaln(width - counts + 1)
    weights = weights - logsumexp(weights)
    if not slope:
        return counts.astype(float), weights
    values, logs = [np.log(np.array([slope**2, 1.0]))], [weights[(counts == 0) | (counts == width)]]
    values[0] = values[0][[0 in counts, width in counts]]
    inner = (counts > 0) & (counts < width)
    if inner.any():
        theta, step = _angles()
        k, w = counts[inner][:, None], weights[inner][:, None]
        density = (math.log(2) + (k - 1) * np.log(np.sin(theta)) + (width - k - 1) * np.log(np.cos(theta))
                   - gammaln(k / 2) - gammaln((width - k) / 2) + gammaln(width / 2))
        values.append(np.log(slope**2 + (1 - slope**2) * np.sin(theta) ** 2))
        logs.append(logsumexp(w + density, axis=0) + np.log(step))
    return np.concatenate(values), np.concatenate(logs)


@functools.cache
def _angles() -> tuple[np.ndarray, np.ndarray]:
    """Composite Gauss-Legendre nodes and weights on (0, π/2)."""
    nodes, weights = leggauss(_NODES)
    half = math.pi / 4 / _PANELS
    centres = half * (2 * np.arange(_PANELS) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, _PANELS)


@dataclass(frozen=True, slots=True)
class NormLaw:
    """The law of log of a product of independent factors."""

    factors: tuple[Factor, ...]

    @property
    def mean(self) -> float:
        """Expectation of the logarithm."""
        return sum(factor.log_mean for factor in self.factors)

    @property
    def variance(self) -> float:
        """Variance of the logarithm."""
        return sum(factor.log_variance for factor in self.factors)

    @property
    def dead(self) -> float:
        """Probability that some rectifier layer lets nothing through."""
        return -math.expm1(sum(math.log1p(-factor.dead) for factor in self.factors if isinstance(factor, Share)))

    def cumulant(self, t: float, fewest: Callable[[Factor], int] = lambda _: 0) -> float:
        """log E X^t of the product."""
        return sum(count * factor.log_moment(t, fewest(factor)) for factor, count in Counter(self.factors).items())

    def sample(self, size: int, generator: np.random.Generator) -> np.ndarray:
        """Draws of the logarithm."""
        logarithms: np.ndarray = np.sum([np.log(factor.sample(size, generator)) for factor in self.factors], axis=0)
        return logarithms

    def band(self, draws: int, alpha: float) -> tuple[float, float]:
        """Interval that the mean of ``draws`` logarithms leaves with probability at most ``alpha`` (given no dead layer).

        Upper edge: min over t > 0 of (Λ(t) + log(2/α)/N)/t. Lower edge: the same for t < 0, after setting aside, at the price of α/4,
        the event that some rectifier layer has fewer active units than a count it falls below with probability α/(4NL); or, where
        that is tighter, without setting anything aside.
        """
        scale = sum(math.log(factor.variance) for factor in self.factors if isinstance(factor, ChiSquare))
        unit = tuple(replace(factor, variance=1.0) if isinstance(factor, ChiSquare) else factor for factor in self.factors)
        low, high = _unit_band(NormLaw(unit), draws, alpha)
        return low + scale, high + scale

    def dead_limit(self, draws: int, alpha: float) -> int:
        """The number of dead draws that is exceeded with probability at most ``alpha``."""
        return binomial_upper(alpha, draws, self.dead) if self.dead > 0 else 0


@functools.lru_cache(maxsize=1024)
def _unit_band(law: NormLaw, draws: int, alpha: float) -> tuple[float, float]:
    """``NormLaw.band`` where every variance is 1: variances shift the logarithm, and a model asks for the same widths many times."""
    high = _least(lambda t: (law.cumulant(t) + math.log(2 / alpha) / draws) / t, 400.0)
    shares = [factor for factor in law.factors if isinstance(factor, Share)]
    rare = alpha / 4 / (draws * max(1, len(shares)))
    fewest = {share: _quantile(share, rare) for share in set(shares)}
    reach = min([factor.width / 2 for factor in law.factors if isinstance(factor, ChiSquare)], default=math.inf)
    reach = min([reach, *(count / 2 for share, count in fewest.items() if not share.slope)])
    reach = min(reach, 400.0)
    kept = functools.partial(_fewest_of, fewest)
    low = -_least(lambda t: (law.cumulant(-t, kept) + math.log(4 / alpha) / draws) / t, 0.9999 * reach)
    plain = -_least(lambda t: (law.cumulant(-t) + math.log(2 / alpha) / draws) / t, 0.9999 / 2)
    return max(low, plain), high


def _fewest_of(table: dict[Share, int], factor: Factor) -> int:
    return table.get(factor, 0) if isinstance(factor, Share) else 0


def _quantile(share: Share, probability: float) -> int:
    """The largest count k with P(K < k) <= probability, given at least one active unit where the slope is 0."""
    least = 0 if share.slope else 1
    allowed = probability * (1 - share.dead)
    count = max(least, binomial_lower(probability, share.width, 0.5))
    while count > least and binomial_cdf(count - 1, share.width, 0.5) > allowed:
        count -= 1
    return count


def _least(function: Callable[[float], float], largest: float) -> float:
    """Minimum over 0 < t < largest, on a logarithmic scale; any t gives a valid bound, the best one a tight bound."""
    from scipy.optimize import minimize_scalar  # here: importing it takes longer than many an audit

    low, high = math.log(largest) - 20, math.log(largest)
    found = minimize_scalar(lambda s: function(math.exp(s)), bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(found.fun)


def gradient_law(widths: Sequence[int], variances: Sequence[float], slopes: Sequence[float]) -> NormLaw:
    """Law of log ||J^T u||²/||u||² of a dense chain.

    Args:
        widths: n_0, ..., n_L.
        variances: of the weights of the L matrices.
        slopes: negative slope of the rectifier behind each matrix; 1 where there is none (as behind the last).
    """
    weights = [ChiSquare(width, variance) for width, variance in zip(widths[:-1], variances, strict=True)]
    return NormLaw((*weights, *_shares(widths[1:], slopes)))


def layer_law(inputs: int, outputs: int, variance: float, slope: float) -> NormLaw:
    """Law of the log of the squared gradient before one matrix over that behind its rectifier."""
    return NormLaw((ChiSquare(inputs, variance), *_shares([outputs], [slope])))


def _shares(widths: Sequence[int], slopes: Sequence[float]) -> list[Share]:
    return [Share(width, slope) for width, slope in zip(widths, slopes, strict=True) if slope != 1.0]
