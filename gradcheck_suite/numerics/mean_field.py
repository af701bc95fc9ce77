"""Mean-field recursions of dense networks at initialisation (Poole et al. 2016; Schoenholz et al. 2017), and rates of normalised ones."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.numerics.activations import Activation
from gradcheck_suite.numerics.gaussian_expectation import expectation


def _cuts(phi: Activation, q: float) -> tuple[float, ...]:
    return tuple(kink / math.sqrt(q) for kink in phi.kinks) if q > 0 else ()


def mean_square(phi: Activation, q: float) -> float:
    """E φ(√q z)²: the mean square of an activation whose input has variance q."""
    scale = math.sqrt(q)
    return expectation(lambda z: phi.value(scale * z) ** 2, _cuts(phi, q))


def mean_value(phi: Activation, q: float) -> float:
    """E φ(√q z)."""
    scale = math.sqrt(q)
    return expectation(lambda z: phi.value(scale * z), _cuts(phi, q))


def mean_square_slope(phi: Activation, q: float) -> float:
    """E φ'(√q z)²: the share of the squared gradient that passes the activation."""
    scale = math.sqrt(q)
    return expectation(lambda z: phi.derivative(scale * z) ** 2, _cuts(phi, q))


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Layer by layer, from the first hidden layer: pre-activation variances q, and factors χ of the squared gradient."""

    variances: tuple[float, ...]
    factors: tuple[float, ...]

    @property
    def log_gradient(self) -> float:
        """Σ log χ: log of the squared gradient's change over the hidden layers."""
        return sum(math.log(factor) if factor > 0 else -math.inf for factor in self.factors)


def trajectory(phi: Activation, weight_variance: float, bias_variance: float, depth: int, *, input_mean_square: float = 1.0) -> Trajectory:
    """q_1 = σ_w² m + σ_b², q_{l+1} = σ_w² E φ(√q_l z)² + σ_b², χ_l = σ_w² E φ'(√q_l z)², for ``depth`` hidden layers.

    ``weight_variance`` is σ_w², the fan-in times the variance of a weight; the layers' width is taken to be infinite.
    """
    variances, factors = [], []
    q = weight_variance * input_mean_square + bias_variance
    for _ in range(depth):
        variances.append(q)
        factors.append(weight_variance * mean_square_slope(phi, q))
        q = weight_variance * mean_square(phi, q) + bias_variance
    return Trajectory(tuple(variances), tuple(factors))


def batch_norm_rate(phi: Activation) -> float:
    """Growth of the squared gradient per layer of a plain network x ← φ(BN(Wx)), for large batches: E φ'²/Var φ.

    At least 1 for every φ by the Gaussian Poincaré inequality, and 1 only where φ is linear; for ReLU π/(π-1) (Yang et al. 2019).
    """
    mean = mean_value(phi, 1.0)
    return mean_square_slope(phi, 1.0) / (mean_square(phi, 1.0) - mean * mean)


def layer_norm_rate(phi: Activation) -> float:
    """Factor of the squared gradient per layer of a plain network x ← φ(LN(Wx)) at any weight gain: E φ'²/E φ²."""
    return mean_square_slope(phi, 1.0) / mean_square(phi, 1.0)


def batch_norm_rate_at(phi: Activation, batch: int, generator: np.random.Generator, draws: int = 20000) -> tuple[float, float]:
    """``batch_norm_rate`` at a finite batch of more than three samples, and three standard errors of its Monte-Carlo estimate.

    At the fixed point the pre-activations of a unit are √B y with y uniform on the unit sphere of the centred subspace; with
    D = diag φ'(√B y), P the projection on that subspace and Q that orthogonal to y in it,

        R = B/(B - 3) · E tr(Q P D P D P Q) / E ‖P φ(√B y)‖²

    (Yang et al. 2019, arXiv:1902.08129, for the limit; both expectations by drawing y).
    """
    y = generator.standard_normal((draws, batch))
    y -= y.mean(1, keepdims=True)
    y /= np.sqrt(np.square(y).sum(1, keepdims=True))
    value, slope = phi.value(math.sqrt(batch) * y), phi.derivative(math.sqrt(batch) * y)
    spread = np.square(value - value.mean(1, keepdims=True)).sum(1)
    trace = np.square(slope).sum(1) * (1 - 2 / batch) + slope.sum(1) ** 2 / batch**2
    along = slope * y
    passed = trace - np.square(along - along.mean(1, keepdims=True)).sum(1)
    rate = batch / (batch - 3) * float(passed.mean() / spread.mean())
    residual = (passed / passed.mean() - spread / spread.mean()).std(ddof=1)
    return rate, 3 * rate * float(residual) / math.sqrt(draws)
