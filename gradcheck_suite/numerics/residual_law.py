"""The exact law of the gradient's stretch in chains of residual blocks x + W₂ φ(W₁ x) with rectifiers, by simulation.

A cotangent g of dimension n comes back as g + W₁ᵀ D W₂ᵀ g. Given the masks the second term is Gaussian and isotropic with variance
s²‖g‖² per entry, s² = v₁ v₂ (χ²_K + a² χ²_{h-K}) with K ~ Binomial(h, 1/2), so that the squared norm is multiplied by

    (1 + s z)² + s² χ²_{n-1},    in expectation 1 + β² with β² = n v₁ · h v₂ · (1 + a²)/2.
"""

import math
from collections.abc import Sequence

import numpy as np


def simulate_blocks(
    width: int, hidden: Sequence[int], slopes: Sequence[float], products: Sequence[float], *, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Draws of log ‖Jᵀu‖²/‖u‖² over the blocks.

    Args:
        width: n.
        hidden: h of each block.
        slopes: a of each block.
        products: v₁ v₂ of each block.
        draws: number of draws.
        generator: of the draws.
    """
    logs = np.zeros(draws)
    for units, slope, product in zip(hidden, slopes, products, strict=True):
        active = generator.binomial(units, 0.5, draws)
        on = generator.chisquare(np.maximum(active, 1)) * (active > 0)
        off = generator.chisquare(np.maximum(units - active, 1)) * (active < units)
        square = product * (on + slope**2 * off)
        along = (1 + np.sqrt(square) * generator.standard_normal(draws)) ** 2
        across = square * generator.chisquare(width - 1, draws) if width > 1 else 0.0
        logs += np.log(along + across)
    return logs


def two_stage_score(logs: np.ndarray, reference: np.ndarray) -> float:
    """Standard errors by which the mean of logs is off that of a simulated reference, the smaller of two halves, with its sign.

    Both halves must deviate for the smaller to be large: at 3.29 each the rate of false alarms is 10⁻⁶.
    """
    spread = float(reference.std(ddof=1))
    scores = [float(half.mean() - reference.mean()) / (spread * math.sqrt(1 / len(half) + 1 / len(reference)))
              for half in np.split(logs, [len(logs) // 2])]
    return min(scores, key=abs)
