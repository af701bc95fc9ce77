"""Exact draws of signal and gradient norms of dense networks with any elementwise activation, without drawing a matrix.

For Gaussian weights and no biases, h_l = √v_l ‖x_{l-1}‖ ξ with ξ standard normal; and given h_l, a matrix is known in the direction of
x_{l-1} alone and Gaussian in all others, so with d = φ'(h_l)·g_l and x̂ = x_{l-1}/‖x_{l-1}‖

    g_{l-1} = x̂ <h_l, d>/‖x_{l-1}‖ + √v_l ‖d‖ (I - x̂x̂ᵀ) ξ'.

One draw costs the sum of the widths instead of the sum of their products, and has the joint law of the real network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.numerics.activations import Activation


@dataclass(frozen=True, slots=True)
class Norms:
    """M draws over L matrices, logarithms of squared norms.

    ``signal`` is log ‖h_L‖²/‖x_0‖² (M); ``gradient`` log ‖Jᵀu‖²/‖u‖² (M); ``layers`` log of the squared gradient with respect
    to x_0, x_1, ..., x_{L-1} over ‖u‖² (M, L), so that its first column is ``gradient``.
    """

    signal: np.ndarray
    gradient: np.ndarray
    layers: np.ndarray


def simulate(
    phis: Sequence[Activation], widths: Sequence[int], variances: Sequence[float], *,
    input_norm: np.ndarray | float, draws: int, generator: np.random.Generator,
) -> Norms:
    """Draws of the norms.

    Args:
        phis: the activation behind each of the L matrices (the identity behind the last, as a rule).
        widths: n_0, ..., n_L.
        variances: of the weights of each matrix.
        input_norm: ‖x_0‖, one for all draws or one for each.
        draws: M.
        generator: of the draws.
    """
    start = np.broadcast_to(np.asarray(input_norm, dtype=float).reshape(-1, 1), (draws, 1))
    signals, before = [np.repeat(start / np.sqrt(widths[0]), widths[0], axis=1)], []
    for phi, variance, width in zip(phis, variances, widths[1:], strict=True):
        scale = np.sqrt(variance) * _norm(signals[-1])
        before.append(scale * generator.standard_normal((draws, width)))
        signals.append(phi.value(before[-1]))
    gradient = generator.standard_normal((draws, widths[-1]))
    cotangent = _norm(gradient)
    columns = []
    for phi, variance, h, x in zip(phis[::-1], variances[::-1], before[::-1], signals[-2::-1], strict=True):
        d = gradient * phi.derivative(h)
        norm = _norm(x)
        direction = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
        along = np.divide((h * d).sum(1, keepdims=True), norm, out=np.zeros_like(norm), where=norm > 0)
        noise = generator.standard_normal(x.shape)
        noise -= direction * (direction * noise).sum(1, keepdims=True)
        gradient = direction * along + np.sqrt(variance) * _norm(d) * noise
        columns.append(_norm(gradient)[:, 0])
    with np.errstate(divide="ignore"):
        layers = 2 * (np.log(np.array(columns[::-1]).T) - np.log(cotangent))
        signal = 2 * (np.log(_norm(signals[-1])[:, 0]) - np.log(start[:, 0]))
    return Norms(signal, layers[:, 0], layers)


def _norm(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.sqrt(np.square(values).sum(1, keepdims=True))
    return result
