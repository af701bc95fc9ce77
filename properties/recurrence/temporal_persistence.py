"""Where a recurrent model fails, the gradient reaches its first steps: over time it does not shrink below what the dtype resolves.

Conditions
----------
The model has a recurrence of at least four steps, and its training fails.

Why it matters
--------------
Each step back in time multiplies the gradient by a factor: 0.5 for a plain RNN or an LSTM whose forget gate is half open. After fifty
steps nothing is left, and what happened early can have no effect on what is learnt.

Measured
--------
log10 of the norm of the loss's gradient with respect to the first step's input over that with respect to the last step's, the mean over
fresh initialisations; and the factor per step, by least squares of the logarithm over time.

Error
-----
The largest deviation of one initialisation from the mean.

When violated
-------------
Start the forget gates open (a bias of 1, or log U(1, T-1), the chrono initialisation), use LSTM or GRU in place of a plain RNN, an
orthogonal recurrent matrix, attention, or a loss at every step.

Limits
------
Below sqrt(eps) an indicator; below eps, where a sum with the last step's gradient keeps nothing, a requirement. A task that needs the
last steps only is not harmed, which is why only failing set-ups are judged.

Sources
-------
Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013; Gers, Schmidhuber and Cummins 2000 (forget
bias); Tallec and Ollivier, Can recurrent neural networks warp time?, 2018 (chrono initialisation).
"""

import math
from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.temporal_profile import TemporalProfile
from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def failing(training: Training) -> str | None:
    """There is a failure to explain."""
    return training.nothing_to_explain()


def measure(temporal_profile: TemporalProfile) -> Iterator[Evidence]:
    limit = -0.5 * math.log10(temporal_profile.eps)
    for seen in temporal_profile.recurrences:
        if seen.reversed_too:
            continue
        decades = np.maximum(seen.decades(), -323.0)
        value = float(decades.mean())
        error = float(np.abs(decades - value).max())
        factor = float(np.nanmean(seen.factors())) if np.isfinite(seen.factors()).any() else 0.0
        note = "" if value + error >= -limit else (
            f"vanishing gradient in time: over {seen.steps} steps of {seen.kind} it shrinks by {-value:.1f} decades, a factor of "
            f"{factor:.2f} per step; open the forget gates (bias 1 or chrono), or use LSTM, GRU or attention")
        yield Evidence(quantity="gradient at the first step over the last step's", value=value, error=error, low=-limit, high=math.inf,
                       unit="decades", where=Where(module=seen.module), note=note, exhibits=(seen.curve(),),
                       level=None if value + error < -2 * limit else Level.INDICATOR)


def _net(kind: str, steps: int, **facts: object) -> Architecture:
    return Architecture(input_shape=(steps, 3), layers=(layer(kind, units=8), layer("last_step"), layer("dense", units=2)), loss="mse",
                        batch=8, dtype="float32").changed(**facts)


PROPERTY = Property(
    measure=measure,
    conditions=(failing,),
    symptoms=("vanishing gradient in time", "recurrent model forgets the first steps"),
    remedies=("forget-gate-bias", "orthogonal-initialization"),
    holds_for=(_net("gru", 4, learning_rate=1e-8),),
    fails_for=(_net("rnn", 40, learning_rate=1e-8), _net("lstm", 60, learning_rate=1e-8)),
)
