"""Where a training is unstable, the sharpest curvature of its loss is not above what its optimiser can follow.

Conditions
----------
The training breaks off or ends above its first loss, and the stability threshold of the optimiser is known in closed form (SGD, heavy
ball, Nesterov).

Why it matters
--------------
On a quadratic, gradient descent grows along every direction whose curvature exceeds 2/lr, and halving the rate ends it. It tells how
much too long a step is, without trying.

Measured
--------
log10 of the largest eigenvalue of the Hessian at the start over the threshold: 2/lr for gradient descent, 2(1+b)/lr with momentum b,
2(1+b)/(lr(1+2b)) with Nesterov's. The eigenvalue is found by Lanczos with full reorthogonalisation.

Error
-----
The residual bound |beta s| of the Ritz value, carried through the logarithm.

When violated
-------------
Divide the learning rate by ten to the power of the value, or normalise inputs and initialisation, whose scale enters the curvature with
its square.

Limits
------
Networks with batch normalisation train above the threshold: only an unstable training is judged, and a violation is a candidate cause.

Sources
-------
Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, ICLR 2021; Lewkowycz et al., The large
learning rate phase of deep learning, 2020; thresholds checked against torch's optimisers on quadratics at 0.995 and 1.005 of each.
"""

import math

from gradcheck_suite.captures.curvature import Curvature
from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import NoFailure, Property


def unstable(training: Training) -> str | None:
    """The training breaks off or ends above where it began."""
    own = training.own
    if own.losses.size > 1 and (not own.finite or own.reached > own.losses[0]):
        return None
    if own.losses.size > 1:
        return NoFailure("the training is stable: it ends below its first loss")
    return "the loss is not finite before the first step"


def measure(curvature: Curvature) -> Evidence:
    seen = curvature
    excess = seen.excess
    error = seen.error / (seen.largest * math.log(10.0)) if seen.largest > 0 else 0.0
    note = "" if not excess - error > 0 else (
        f"learning rate too high: the sharpness {seen.largest:.3g} exceeds {seen.formula} = {seen.threshold:.3g} of {seen.optimizer} at "
        f"the learning rate {seen.learning_rate:.2g}; steps along the sharpest direction grow")
    value = excess if math.isfinite(excess) else -308.0
    return Evidence(quantity="log10 of the sharpness over the stability threshold", value=value, error=error, low=-math.inf, high=0.0,
                    where=Where(), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("tanh"), layer("dense", units=3)), loss="mse", batch=16)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(unstable,),
    symptoms=("learning rate too high", "sharpness above the stability threshold"),
    remedies=("lower-learning-rate", "momentum", "normalized-inputs"),
    holds_for=(_NET.changed(learning_rate=1e-3, defects=(Defect(kind="ascent", module=""),)),),
    fails_for=(_NET.changed(learning_rate=50.0), _NET.changed(learning_rate=50.0, optimizer="momentum")),
)
