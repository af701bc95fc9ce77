"""In a plain network with layer norm before the activation the squared gradient changes by E φ'²/E φ² per layer at every gain.

Conditions
----------
Seven or more equal blocks of dense layer, layer or RMS norm and activation, at least 64 units wide; fresh initialisations;
an activation whose law is known.

Why it matters
--------------
This is the true form of normalisation repairs a bad initialisation: behind a layer norm the pre-activations have unit
variance at every gain, and a ReLU network keeps the gradient's scale exactly (factor 1) even where the initialisation alone
would let it vanish or explode. For tanh the factor is 1.178, for sigmoid 0.153.

Measured
--------
The mean over initialisations of the log of the squared gradient's growth between the third block from each end, against the
number of blocks between times the log of the factor (as growth towards the input).

Error
-----
0.05 per block for finite width (measured: at most 0.03 at width 128), plus 4.9 standard errors of the mean.

When violated
-------------
Another layer than the declared ones acts on the gradient, or the norm does not normalise.

Limits
------
Norms behind the activation, or before the dense layer, follow other laws.

Sources
-------
Poole et al. 2016, arXiv:1606.05340, section 3 (χ at unit variance); Ba et al. 2016, arXiv:1607.06450, section 5.1
(invariance to the gain).
"""

import math

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.normalized_chain import growth, normalized_chain
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.activations import activation
from gradcheck_suite.numerics.mean_field import layer_norm_rate

NORM, SKIPPED, DECADE = "layer_norm", 2, math.log(10)


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws = gradient_norm_draws
    chain = normalized_chain(structure, (NORM, "rms_norm"), width=64, depth=7)
    phi = activation(chain.activation.kind, dict(chain.activation.settings))
    if phi is None:
        raise NotApplicable(f"no law is known for the activation {chain.activation.kind}")
    grown, layers = growth(chain, draws, SKIPPED)
    rate = layer_norm_rate(phi)
    expected, mean = layers * math.log(rate), float(grown.mean())
    allowed = 0.05 * layers + 4.9 * float(grown.std(ddof=1)) / math.sqrt(draws.draws)
    return Evidence(
        quantity="log10 of the growth of the squared gradient", value=mean / DECADE, error=0.0, low=(expected - allowed) / DECADE,
        high=(expected + allowed) / DECADE, unit="decades", where=Where(module=chain.paths[SKIPPED]),
        note=f"a factor {math.exp(mean / layers):.4g} per layer over {layers} layers, predicted {rate:.4g}",
        level=None if structure.architecture is not None else Level.INDICATOR,
    )


def _net(depth: int, kind: str, *defects: Defect, **facts: object) -> Architecture:
    blocks = [item for _ in range(depth) for item in (layer("dense", units=64), layer(NORM), layer(kind))]
    return Architecture(input_shape=(64,), layers=(*blocks, layer("dense", units=8)), batch=16, initialization="lecun-normal",
                        defects=defects).changed(**facts)


PROPERTY = Property(
    measure=measure,
    symptoms=("vanishing gradient", "exploding gradient", "normalisation"),
    holds_for=(_net(10, "relu"), _net(10, "tanh", initialization="torch-default"), _net(8, "sigmoid", initialization="he-normal")),
    fails_for=(_net(10, "relu", Defect(kind="scaled-backward", module="15", strength=0.1)),),
    domain=None,
)
