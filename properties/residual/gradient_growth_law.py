"""In a chain of residual blocks the squared gradient norm grows by 1 + β² per block, β² being the squared gain of the branch.

Conditions
----------
Declared blocks x + W₂ φ(W₁ x) with a rectifier φ, weights of independent entries, a first sample that is not zero; fresh
initialisations.

Why it matters
--------------
The skip carries the gradient, the branch adds to it: the factor is exactly 1 + β² in expectation, at least 1, so that a bad
gain cannot make the gradient vanish as it does in a plain chain (a gain of 1/16 per block leaves 10⁻⁵⁰ there, and 11 here).
Without scaling the branches depth still makes 2ᴸ; scaled by 1/√L the growth stays below e.

Measured
--------
The mean of log ||Jᵀu||²/||u||² over the draws against 20000 draws of its exact law at the measured variances, in standard
errors, on two halves; the smaller deviation is the evidence.

Error
-----
None beside rounding. False alarms: 10⁻³ in each half, 10⁻⁶ in all, where the mean of the logs is normal.

When violated
-------------
A branch is detached or scaled on its way back, or the skip is: compare the block's forward and backward pass.

Limits
------
Blocks with normalisation or more layers follow other laws. The gain itself is not judged, see ``declared-weight-variance``.

Sources
-------
He et al. 2016, Identity mappings in deep residual networks, arXiv:1603.05027, section 2; Hanin and Rolnick 2018, How to
start training, arXiv:1803.01719, theorem 6; Zhang et al. 2019, Fixup, arXiv:1901.09321.
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
from gradcheck_suite.numerics.residual_law import simulate_blocks, two_stage_score

SIGMAS = 3.29


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws = gradient_norm_draws
    chain = residual_chain(structure, draws)
    logs = draws.ratio[np.isfinite(draws.ratio)]
    if len(logs) < 8 or np.isnan(draws.concentration).any():
        raise NotApplicable(f"{len(logs)} draws with a gradient and an input that is not zero; the statistic needs 8")
    generator = np.random.default_rng(0)
    products = [one * two for one, two in zip(chain.first, chain.second, strict=True)]
    reference = simulate_blocks(chain.width, chain.hidden, chain.slopes, products, draws=20000, generator=generator)
    if chain.head:
        reference = reference + np.log(chain.head * generator.chisquare(chain.width, len(reference)))
    growth = float(np.log1p(chain.gains).sum() + (math.log(chain.head * chain.width) if chain.head else 0.0)) / math.log(10)
    return Evidence(
        quantity="standard errors from the law of residual blocks, the smaller of two halves", value=abs(two_stage_score(logs, reference)),
        error=0.0, low=0.0, high=SIGMAS, where=Where(module=""), ruled_out=("chance in one half", "gain of the branches"),
        note=f"β² from {chain.gains.min():.3g} to {chain.gains.max():.3g}: expected growth 10^{growth:.2f} over {len(chain.gains)} blocks; "
             f"measured mean log {logs.mean() / math.log(10):.3f}, law {reference.mean() / math.log(10):.3f} decades",
    )


def _net(blocks: int, *defects: Defect, width: int = 24, **facts: object) -> Architecture:
    block = layer("residual", layer("dense", units=32), layer("relu"), layer("dense", units=width))
    plain = Architecture(input_shape=(width,), layers=(block,) * blocks, batch=1, initialization="he-normal", defects=defects)
    return plain.changed(**facts)


def _gains(blocks: int) -> tuple[Defect, ...]:
    """Branches scaled by 1/√L."""
    return tuple(Defect(kind="gain", module=f"{index}.2", strength=blocks**-0.5) for index in range(blocks))


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    symptoms=("exploding gradient", "vanishing gradient", "detached branch", "residual connection"),
    holds_for=(_net(6), _net(8, *_gains(8)), _net(4, initialization="glorot-uniform")),
    fails_for=(_net(6, *(Defect(kind="detached", module=f"{index}.2") for index in (1, 3))),
               _net(6, Defect(kind="scaled-backward", module="2", strength=0.5))),
    domain=None,
)
