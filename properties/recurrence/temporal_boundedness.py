"""Over the steps of a recurrence the gradient does not grow by more than half the digits of its dtype.

Conditions
----------
The model has a recurrence of at least four steps.

Why it matters
--------------
A recurrent matrix whose spectral radius exceeds one multiplies the gradient at every step back in time. The first steps then decide the
whole update, and one batch can throw the weights away.

Measured
--------
log10 of the norm of the loss's gradient with respect to the first step's input over that with respect to the last step's, the median over
fresh initialisations in which a gradient arrives; and the factor per step, by least squares of the logarithm over time.

Error
-----
The distance to the farther quartile of the initialisations: rectified recurrences die in some of them and explode in the others.

When violated
-------------
Clip gradients, initialise the recurrent matrix orthogonally, or use LSTM or GRU.

Limits
------
An indicator: clipping in the training loop, which is not seen, may hold it. The bound is sqrt(eps), 3.5 decades in float32.

Sources
-------
Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013, section 2.1: a spectral radius above one is
necessary for an explosion.
"""

import math
from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.temporal_profile import TemporalProfile
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def measure(temporal_profile: TemporalProfile) -> Iterator[Evidence]:
    limit = -0.5 * math.log10(temporal_profile.eps)
    for seen in temporal_profile.recurrences:
        decades = np.nan_to_num(np.maximum(seen.decades(), -323.0), nan=math.nan, posinf=308.0)
        decades = decades[~np.isnan(decades)] if not np.isnan(decades).all() else np.zeros(1)
        lower, value, upper = map(float, np.quantile(decades, (0.25, 0.5, 0.75)))
        error = max(value - lower, upper - value)
        factor = float(np.nanmean(seen.factors())) if np.isfinite(seen.factors()).any() else 0.0
        note = "" if value - error <= limit else (
            f"exploding gradient in time: over {seen.steps} steps of {seen.kind} it grows by {value:.1f} decades, a factor of {factor:.2f} "
            "per step; clip gradients, or initialise the recurrent matrix orthogonally")
        yield Evidence(quantity="gradient at the first step over the last step's", value=value, error=error, low=-math.inf, high=limit,
                       unit="decades", where=Where(module=seen.module), note=note, exhibits=(seen.curve(),))


_NET = Architecture(input_shape=(40, 3), layers=(layer("rnn", units=16), layer("last_step"), layer("dense", units=2)), loss="mse", batch=8,
                    dtype="float32", values="tiny")

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("exploding gradient in time", "recurrent gradient grows"),
    remedies=("orthogonal-initialization", "glorot-initialization"),
    holds_for=(_NET, _NET.changed(layers=(layer("lstm", units=16), layer("last_step"), layer("dense", units=2)))),
    fails_for=(_NET.changed(initialization="orthogonal", defects=(Defect(kind="gain", module="0", strength=1.3),)),),
)
