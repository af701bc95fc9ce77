"""In a plain network with batch norm the squared gradient grows by a known rate above one per layer, whatever the weights' gain.

Conditions
----------
Eleven or more equal blocks of dense layer, batch norm in training mode and activation, at least 64 units wide; a batch of
more than 4 samples and at most the width; fresh initialisations; an activation whose law is known.

Why it matters
--------------
Batch norm makes signal and gradient independent of the weights' gain, but it does not keep the gradient's scale: for large
batches the rate is E φ'²/Var φ, at least 1 for every activation by the Gaussian Poincaré inequality (π/(π-1) = 1.467 for
ReLU). Fifty layers make five decades. Skip connections cure it, gains do not.

Measured
--------
The mean over initialisations of the log of the squared gradient's growth between the fifth block from each end, against the
number of blocks between times the log of the rate at this batch size.

Error
-----
0.05 per block for finite width and distance from the fixed point (measured: at most 0.016 at width 128), plus 4.9 standard
errors of the mean, plus that of the rate.

When violated
-------------
Another layer than the declared ones acts on the gradient, or batch norm does not use the batch. To avoid the growth add
residual connections.

Limits
------
The first and last blocks depend on the data and are left out. Weights far from independent (trained, structured) need not
follow.

Sources
-------
Yang et al. 2019, A mean field theory of batch normalization, arXiv:1902.08129, section 4 and theorem 3.10.
"""

import math

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.normalized_chain import growth, normalized_chain
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.activations import activation
from gradcheck_suite.numerics.mean_field import batch_norm_rate_at

NORM, SKIPPED, DECADE = "batch_norm", 4, math.log(10)


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws = gradient_norm_draws
    chain = normalized_chain(structure, (NORM,), width=64, depth=11)
    phi = activation(chain.activation.kind, dict(chain.activation.settings))
    if phi is None:
        raise NotApplicable(f"no law is known for the activation {chain.activation.kind}")
    if not 4 < draws.batch <= chain.width:
        raise NotApplicable(f"the batch has {draws.batch} samples; the law needs more than 4 and at most the width, {chain.width}")
    if not dict(structure.chain[1].settings).get("batch", False):
        raise NotApplicable("batch norm uses running statistics")
    grown, layers = growth(chain, draws, SKIPPED)
    rate, error = batch_norm_rate_at(phi, draws.batch, np.random.default_rng(0))
    expected, mean = layers * math.log(rate), float(grown.mean())
    allowed = 0.05 * layers + 4.9 * float(grown.std(ddof=1)) / math.sqrt(draws.draws) + layers * error / rate
    return Evidence(
        quantity="log10 of the growth of the squared gradient", value=mean / DECADE, error=0.0, low=(expected - allowed) / DECADE,
        high=(expected + allowed) / DECADE, unit="decades", where=Where(module=chain.paths[SKIPPED]),
        note=f"exploding gradient by design: a factor {math.exp(mean / layers):.4g} per layer over {layers} layers, predicted {rate:.4g}",
        level=None if structure.architecture is not None else Level.INDICATOR,
    )


def _net(depth: int, kind: str, *defects: Defect, **facts: object) -> Architecture:
    blocks = [item for _ in range(depth) for item in (layer("dense", units=64), layer(NORM), layer(kind))]
    return Architecture(input_shape=(64,), layers=(*blocks, layer("dense", units=8)), batch=16, initialization="lecun-normal",
                        defects=defects).changed(**facts)


PROPERTY = Property(
    measure=measure,
    symptoms=("exploding gradient", "batch norm without skip connections"),
    holds_for=(_net(12, "relu"), _net(12, "tanh", initialization="he-normal")),
    fails_for=(_net(12, "relu", Defect(kind="scaled-backward", module="15", strength=0.1)),),
    domain=None,
)
