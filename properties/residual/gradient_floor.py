"""A chain of residual blocks never lets the squared gradient vanish in the mean: it is at least that of the skip alone.

Conditions
----------
As for ``gradient-growth-law``, without a layer behind the blocks.

Why it matters
--------------
This is why residual networks train at depths where plain ones do not, whatever the gain of their branches.

Measured
--------
log of the mean of ||Jᵀu||²/||u||² over the draws, estimated as mean plus half the variance of the logs (log-normal), with a
lower bound of 0.

Error
-----
Student's t at alpha/3 times Cox's standard error √(s²/N + s⁴/(2(N - 1))).

When violated
-------------
Something scales the skip's gradient down: look for a scaling of the sum, or a backward pass that forgets the skip.

Limits
------
The bound holds in expectation, not draw by draw. Sums that are divided by √2 on purpose are not residual blocks in this
sense.

Sources
-------
He et al. 2016, arXiv:1603.05027, section 2 (the gradient contains an additive term that is not multiplied by any weight);
Zhou and Gao 1997, Statistics in Medicine 16.
"""

import math

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.residual_chain import residual_chain
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.convolution_moments import lognormal_limit


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws = gradient_norm_draws
    chain = residual_chain(structure, draws)
    if chain.head:
        raise NotApplicable("a dense layer stands behind the blocks")
    logs = draws.ratio[np.isfinite(draws.ratio)]
    if len(logs) < 16 or np.isnan(draws.concentration).any():
        raise NotApplicable(f"{len(logs)} draws with a gradient and an input that is not zero; the statistic needs 16")
    square = float(logs.var(ddof=1))
    scatter = math.sqrt(square / len(logs) + square**2 / (2 * (len(logs) - 1)))
    error = lognormal_limit(len(logs), draws.alpha) * scatter
    return Evidence(
        quantity="log of the mean of the squared gradient, input over output", value=float(logs.mean()) + square / 2, error=error, low=0.0,
        high=math.inf, resolution=max(2 * error, 0.1), where=Where(module=""),
        note=f"the branches alone would give 10^{float(np.log10(chain.gains).sum()):.2f} over {len(chain.gains)} blocks",
    )


def _net(blocks: int, *defects: Defect, width: int = 24, **facts: object) -> Architecture:
    block = layer("residual", layer("dense", units=32), layer("relu"), layer("dense", units=width))
    plain = Architecture(input_shape=(width,), layers=(block,) * blocks, batch=1, initialization="he-normal", defects=defects)
    return plain.changed(**facts)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    symptoms=("vanishing gradient", "residual connection"),
    holds_for=(_net(6), _net(5, *(Defect(kind="gain", module=f"{index}.2", strength=0.01) for index in range(5)))),
    fails_for=(_net(6, Defect(kind="scaled-backward", module="2", strength=0.01)),),
    domain=None,
)
