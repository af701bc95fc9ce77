"""The first step of the optimiser goes downhill: its product with the gradient is not positive.

Conditions
----------
The subject has an optimiser, and the first step was finite and moved something.

Why it matters
--------------
``maximize=True``, a sign lost in a hand-written update or a weight decay that outweighs the gradient lead uphill: the loss rises with
every step, slowly enough to pass for noise.

Measured
--------
The cosine between the gradient and the first change of the parameters, over all parameters together. Plain gradient descent gives -1;
momentum gives the same in its first step; adaptive and sign-based methods lie between -1 and 0.

Error
-----
The rounding of the inner product, at most n u Σ|g Δ| for n summands.

When violated
-------------
Look for ``maximize``, for a minus in the loss or the update, and for the size of ``weight_decay``.

Limits
------
Later steps may go uphill with momentum and are not judged. Where the loss starts at zero or below it may be a score that is meant to
rise: an indicator then.

Sources
-------
Nocedal and Wright, Numerical Optimization, 2006, section 2.2: p is a descent direction where its product with the gradient is negative.
"""

import math

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def moved(first_steps: FirstSteps) -> str | None:
    """A first step that moved something along which the loss has a slope."""
    if first_steps.trained and not first_steps.stepped:
        return "the subject has no optimiser"
    if first_steps.unmet():
        return first_steps.unmet()
    still = not first_steps.update_norm[0].any() or not first_steps.gradient_norm[0].any()
    return "the first step moved nothing, or the gradient is zero" if still else None


def measure(first_steps: FirstSteps) -> Evidence:
    seen = first_steps
    gradient, update = math.hypot(*seen.gradient_norm[0]), math.hypot(*seen.update_norm[0])
    size = gradient * update
    cosine = float(seen.progress[0]) / size if size > 0 else 0.0
    error = float(seen.progress_error[0]) / size if size > 0 else 0.0
    note = "" if cosine - error <= 0 else (
        f"gradient ascent: the first step of {seen.optimizer} goes uphill and raises the loss by {seen.progress[0]:.3g} to first order "
        "(maximize=True, a lost sign, or a weight decay that outweighs the gradient)")
    return Evidence(quantity="cosine between gradient and step", value=cosine, error=error, low=-math.inf, high=0.0, where=Where(),
                    note=note, level=Level.INDICATOR if seen.losses[0] <= 0 else None)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(moved,),
    symptoms=("gradient ascent", "wrong sign of the update", "loss rises from the first step"),
    holds_for=(_NET, _NET.changed(optimizer="adam"), _NET.changed(optimizer="momentum"), _NET.changed(optimizer="nesterov")),
    fails_for=(_NET.changed(defects=(Defect(kind="ascent", module=""),)),
               _NET.changed(optimizer="adam", defects=(Defect(kind="ascent", module=""),))),
)
