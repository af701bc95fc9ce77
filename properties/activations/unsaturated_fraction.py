"""In every activation layer no more units are saturated than fair coins would make.

Conditions
----------
The model applies an elementwise activation to something that the batch reaches.

Why it matters
--------------
A saturated unit lets next to nothing of the gradient through: weights below it learn slowly or not at all. A sigmoid or tanh saturates
when its inputs are large (unnormalised data, large weights, a bias far from zero), a rectifier when its input is negative for the
whole batch.

Measured
--------
The share of units (entries of one sample) whose slope |φ'(x)|, averaged over the batch, is below 5 % of the largest slope the
activation has. Slopes are measured by differentiating the activation itself at the inputs it received. With weights of symmetric law
a rectifier's unit is negative on a given sample with probability 1/2, independently of those with other weights; the positions of one
channel share theirs and may go together. So the saturated share is at most that of n coins, one a channel, binomial(n, 1/2): the allowed
share ends at its upper quantile.

Error
-----
None: units are counted. False alarms for symmetric weights: at most alpha over all layers.

When violated
-------------
Normalise the inputs, use an initialisation that fits the activation, remove a large negative bias, lower the learning rate, or put a
normalisation layer before the activation.

Limits
------
The cut at 5 % is a convention. For two-sided activations (tanh, sigmoid) the bound is a convention too: a healthy network stays far
below it. A violation is a candidate cause, an indicator: networks that are sparse by design exist. Narrow layers cannot be judged:
with three units all may be off by chance. Behind a layer that passes nothing at all no further one is judged.

Sources
-------
Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, section 3 (saturation); Rakitianskaia
and Engelbrecht 2015, Measuring saturation in neural networks; Hanin and Nica 2020 (activation patterns are fair coins).
"""

import math
from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.backward_pass import BackwardPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.quantiles import binomial_upper


def activated(backward_pass: BackwardPass) -> str | None:
    """Some elementwise activation ran."""
    return None if (backward_pass.units > 0).any() else "no elementwise activation ran"


def measure(backward_pass: BackwardPass) -> Iterator[Evidence]:
    seen = backward_pass
    layers = np.flatnonzero(seen.units > 0)
    shares = np.column_stack([seen.saturated, seen.slope, seen.dead]).tolist()
    columns = ("module", "activation", "saturated", "RMS relative slope", "dead on the batch")
    table = Table(title="Activation layers", columns=columns, rows=tuple((seen.paths[i], seen.kinds[i], *shares[i]) for i in layers))
    decades = 2 * sum(math.log10(slope) if (slope := float(seen.slope[i])) > 0 else -math.inf for i in layers)
    for index in layers:
        units, channels, share = int(seen.units[index]), int(seen.channels[index]), float(seen.saturated[index])
        allowed = binomial_upper(seen.alpha / len(layers), channels, 0.5) / channels
        dead = f", {seen.dead[index]:.0%} of the units pass nothing at all" if seen.dead[index] else ""
        yield Evidence(
            quantity="share of saturated units", value=share, error=0.0, low=0.0, high=allowed, where=Where(module=seen.paths[index]),
            note=f"{seen.kinds[index]}: {share:.0%} of {units} units have less than 5 % of the largest slope{dead}; all activations "
                 f"together multiply the squared gradient by 10^{decades:.1f}",
            exhibits=(table,), level=Level.INDICATOR,
        )
        if seen.dead[index] == 1.0:
            return


def _net(activation: str, initialization: str, **facts: object) -> Architecture:
    hidden = [item for _ in range(3) for item in (layer("dense", units=48), layer(activation))]
    layers = (*hidden, layer("dense", units=4))
    return Architecture(input_shape=(24,), layers=layers, batch=8, initialization=initialization).changed(**facts)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    level=Level.INDICATOR,
    conditions=(activated,),
    symptoms=("saturated sigmoid or tanh", "saturation", "dead ReLU", "vanishing gradient", "unnormalised inputs"),
    remedies=("normalized-inputs", "he-initialization", "batch-normalization", "leaky-relu-activation"),
    holds_for=(_net("tanh", "glorot-normal"), _net("relu", "he-normal"), _net("sigmoid", "torch-default"), _net("gelu", "he-uniform")),
    fails_for=(
        _net("tanh", "glorot-normal", values="large"), _net("sigmoid", "glorot-normal", defects=(Defect(kind="saturated", module="2"),)),
        _net("relu", "he-normal", defects=(Defect(kind="saturated", module="0"),)),
    ),
    domain={"initializations": ("he-normal", "he-uniform", "glorot-normal", "orthogonal"), "values": ("normal",), "kinds": (
        "dense", "relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu"), "input_kinds": ("features",)},
)
