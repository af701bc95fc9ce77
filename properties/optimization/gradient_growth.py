"""In a training that fails, the gradient does not grow or shrink by more than half of the digits of float32.

Conditions
----------
The set-up fails: its training breaks off, or does not beat the best constant output; and at least ten steps had a norm.

Why it matters
--------------
A gradient that fades from step to step says that units die or saturate while the loss is still high: the training stops by itself. One
that grows from step to step is a training that diverges, seen before the loss overflows.

Measured
--------
The Euclidean norm of the whole gradient at each step of the short training: the change of its log10 from the first step to the last
tenth of the steps.

Error
-----
Half of the range over the last tenth of the steps.

When violated
-------------
Growing: lower the learning rate, clip the gradient, check the sign of the loss. Shrinking: look at dead and saturated units; lower the
learning rate, normalise the inputs, or use an activation without a flat part.

Limits
------
A candidate cause. The bound is sqrt(eps) of float32, 3.5 decades: a sum of the gradients at both ends keeps half of its digits. Steps
whose gradient is exactly zero are left out: see ``gradient-activity``.

Sources
-------
Goodfellow, Bengio and Courville, Deep Learning, MIT Press 2016, sections 6.3.1 (dead units), 6.2.2 (saturation) and 8.2.4.
"""

import math

from gradcheck_suite.captures.training import Training, norm_curve
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_MOST = 0.5 * 23 * math.log10(2.0)


def failing(training: Training) -> str | None:
    """There is a failure to explain, and the gradients of enough steps are known."""
    unmet = training.nothing_to_explain()
    if unmet is None and training.own.growth(training.own.gradient_norms) is None:
        return "fewer than ten steps had a gradient whose norm is finite and not zero"
    return unmet


def measure(training: Training) -> Evidence:
    own = training.own
    value, error = own.growth(own.gradient_norms) or (math.nan, math.nan)
    first, last = own.gradient_norms[0], own.gradient_norms[-1]
    ends = f"its norm goes from {first:.3g} to {last:.3g} in {own.gradient_norms.size} steps"
    note = ""
    if value - error > _MOST:
        note = f"exploding gradient during the training: {ends}; lower the learning rate or clip the gradient"
    elif value + error < -_MOST:
        note = f"fading gradient during the training: {ends}, while the loss is no better than the best constant's; units die or saturate"
    return Evidence(quantity="change of the gradient's norm over the training", value=value, error=error, low=-_MOST, high=_MOST,
                    unit="decades", where=Where(), note=note, exhibits=(norm_curve(own.gradient_norms, "gradient"),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="mse", batch=16)
_SATURATING = (layer("dense", units=16), layer("tanh"), layer("dense", units=3), layer("sigmoid"))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing,),
    symptoms=("gradient changes its scale during training",),
    remedies=("lower-learning-rate", "gradient-clipping", "normalized-inputs"),
    holds_for=(_NET.changed(learning_rate=1e-7),),
    fails_for=(_NET.changed(layers=(layer("dense", units=3),), learning_rate=4.0),
               _NET.changed(layers=_SATURATING, learning_rate=30.0, optimizer="adam")),
)
