"""Where the initialisation does harm, every weight has the variance of a known law.

Conditions
----------
Harm is measured: the initial loss is more than twice the best constant output's, or signal or gradient change by more than half the
digits of their dtype along the depth. Initialisations can be drawn, and there are dense or convolutional layers.

Why it matters
--------------
Weights drawn with a standard deviation of 1, or of 0.01 whatever the width, give every layer a factor that is not 1. The known laws (He,
Glorot, LeCun, orthogonal, PyTorch's default) divide by the fan; a deviation from all of them, together with harm, is the likely cause.
Weights that are too small bring the outputs near a constant: they are no reason for a loss that starts high, and are judged only where
the scale changes along the depth.

Measured
--------
The natural logarithm of the mean square of the entries over the nearest known law's variance, per weight. The last layer is left out where
its weights are smaller than any law's: that is a practice of its own.

Error
-----
z sqrt((k - 1) / n) for n entries of kurtosis k, at least 3 (the delta method on a variance), z the normal quantile at alpha over the
number of weights; and 0.2, since scaled variants of the laws (gains of 5/3 or sqrt(2), truncation) are known laws too.

When violated
-------------
``nn.init.kaiming_normal_`` in front of a ReLU, ``nn.init.xavier_uniform_`` in front of tanh or sigmoid, ``nn.init.orthogonal_``.

Limits
------
Without harm nothing is said: a deviation from He is not a failure to train.

Sources
-------
He et al. 2015, arXiv:1502.01852; Glorot and Bengio 2010; LeCun et al. 1998, Efficient BackProp, section 4.6; Saxe et al. 2014.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.captures.training import Training
from gradcheck_suite.captures.weight_law import WeightLaw
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import NoFailure, Property
from gradcheck_suite.numerics.quantiles import normal_upper

# the squares of the gains in use: 1, 5/3 (tanh), sqrt(2); and their inverses
_GAINS = (1.0, 2.0, 25.0 / 9.0, 0.5)
_SLACK = 0.2


def harmful(training: Training, depth_profile: DepthProfile) -> str | None:
    """The initialisation does harm."""
    own = training.own
    start = float(own.losses[0]) if own.losses.size else math.nan
    if own.constant > 0 and (start > 2 * own.constant or not math.isfinite(start)):
        return None
    if depth_profile.beyond():
        return None
    return NoFailure("the initialisation does no harm: the initial loss is near the best constant output's, signal and gradient keep their "
                     "scale")


def measure(weight_law: WeightLaw, depth_profile: DepthProfile) -> Iterator[Evidence]:
    low = 0.0 if depth_profile.beyond() else -math.inf
    weights = [w for w in weight_law.weights if not (w.last and w.mean_square < 1.0 / (3.0 * w.fan_in))]
    z = normal_upper(weight_law.alpha / (2 * max(1, len(weights))))
    for weight in weights:
        deviations = [weight.deviation(weight.nearest) - math.log(gain) for gain in _GAINS]
        value = min(deviations, key=abs)
        error = weight.half_width(z) + _SLACK if math.isfinite(value) else 0.0
        value = value if math.isfinite(value) else -745.0
        note = "" if low - error <= value <= error else (
            f"bad initialisation: the weights have {math.exp(value):.3g} times the variance of the nearest known law, {weight.nearest}; "
            "draw them with He (kaiming) or Glorot (xavier) initialisation")
        yield Evidence(quantity="log of the weights' variance over the nearest known law's", value=value, error=error, low=low, high=0.0,
                       resolution=2 * error, where=Where(module=weight.module, parameter=weight.name), note=note)


def _net(depth: int, **facts: object) -> Architecture:
    hidden = [item for _ in range(depth) for item in (layer("dense", units=24), layer("relu"))]
    return Architecture(input_shape=(12,), layers=(*hidden, layer("dense", units=3)), loss="cross-entropy", batch=16,
                        optimizer="adam").changed(**facts)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    level=Level.INDICATOR,
    conditions=(harmful,),
    symptoms=("bad initialisation", "weight variance", "weight scale"),
    remedies=("he-initialization", "glorot-initialization", "orthogonal-initialization"),
    holds_for=(_net(24, dtype="float32"),),
    fails_for=tuple(_net(3, defects=tuple(Defect(kind="gain", module=str(2 * i), strength=strength) for i in range(4)))
                    for strength in (30.0,)),
)
