"""In a training that fails, the weights do not grow or shrink tenfold.

Conditions
----------
The set-up fails: its training breaks off, or does not beat the best constant output; and at least ten steps had a norm.

Why it matters
--------------
Weights that grow with every step are driven by steps that are too long, or by a gradient that pushes them outwards without end. Weights
that shrink with every step are eaten by weight decay or a penalty. Either way the loss no longer speaks of the data.

Measured
--------
The Euclidean norm of all trainable parameters before each step of the short training: the change of its log10 from the first step to
the last tenth of the steps.

Error
-----
Half of the range over the last tenth of the steps.

When violated
-------------
Growing: lower the learning rate, clip the gradient, or check the sign of the loss. Shrinking: lower the weight decay or the penalty.

Limits
------
A candidate cause; tenfold is a convention. Steps at which all parameters are zero are left out.

Sources
-------
Goodfellow, Bengio and Courville, Deep Learning, MIT Press 2016, sections 7.1.1 (weight decay shrinks weights geometrically) and 8.2.4.
"""

import math

from gradcheck_suite.captures.training import Training, norm_curve
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_MOST = 1.0


def failing(training: Training) -> str | None:
    """There is a failure to explain, and the norms of enough steps are known."""
    unmet = training.nothing_to_explain()
    if unmet is None and training.own.growth(training.own.weight_norms) is None:
        return "fewer than ten steps had weights whose norm is finite and not zero"
    return unmet


def measure(training: Training) -> Evidence:
    own = training.own
    value, error = own.growth(own.weight_norms) or (math.nan, math.nan)
    factor = 10.0 ** (value / max(1, own.weight_norms.size - 1))
    ends = f"their norm goes from {own.weight_norms[0]:.3g} to {own.weight_norms[-1]:.3g}, a factor of {factor:.3g} a step"
    note = ""
    if value - error > _MOST:
        note = f"exploding weights: {ends}; lower the learning rate"
    elif value + error < -_MOST:
        note = f"shrinking weights: {ends}; lower the weight decay or the penalty on weights"
    return Evidence(quantity="change of the weights' norm over the training", value=value, error=error, low=-_MOST, high=_MOST,
                    unit="decades", where=Where(), note=note, exhibits=(norm_curve(own.weight_norms, "weights"),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="mse", batch=16)
_DECAY = Defect(kind="weight-decay", module="", strength=3.0)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing,),
    symptoms=("weights explode", "weights shrink to zero"),
    remedies=("lower-learning-rate", "gradient-clipping"),
    holds_for=(_NET.changed(learning_rate=1e-7),),
    fails_for=(_NET.changed(learning_rate=10.0, optimizer="adam"), _NET.changed(learning_rate=0.05, defects=(_DECAY,))),
)
