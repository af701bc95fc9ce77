"""One update step takes the learning rate times the gradient from every parameter.

Conditions
----------
The update is plain gradient descent: no momentum, no adaptive step, no weight decay.

Why it matters
--------------
A step up the gradient, a learning rate applied twice or a parameter left out still changes the loss, and the cause is looked for
in the gradient.

Measured
--------
The largest distance of the new parameter from parameter - learning rate * gradient, as a share of the largest step expected.

Error
-----
Two roundings of each of the two operations, in the parameter's precision, doubled.

When violated
-------------
The pattern says by what factor the step is off: minus one is a step uphill, zero a parameter that was not updated.

Limits
------
One step at one learning rate. A parameter whose gradient is zero must stay where it is; nothing else can be told from it.

Sources
-------
Robbins and Monro, A stochastic approximation method, Annals of Mathematical Statistics 22 (1951).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_update import HandwrittenUpdate, Updated
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

RESOLUTION = 1e-4


def measure(handwritten_update: HandwrittenUpdate) -> Iterator[Evidence]:
    for updated in handwritten_update.parameters:
        yield _evidence(handwritten_update, updated)
    for name in handwritten_update.changed_gradients:
        where = Where(parameter=name, function=handwritten_update.function or None, source=handwritten_update.source)
        yield Evidence(quantity="gradients changed by the update", value=1.0, error=0.0, low=0.0, high=0.0, where=where,
                       note=f"the update changed the gradient of {name} in place", level=Level.INDICATOR)


def _evidence(update: HandwrittenUpdate, updated: Updated) -> Evidence:
    scale = updated.expected or 1.0
    where = Where(parameter=updated.parameter, entry=updated.entry if updated.pattern and updated.entry else None,
                  function=update.function or None, source=update.source)
    return Evidence(quantity="deviation of the step from learning rate times gradient", value=updated.deviation / scale,
                    error=updated.rounding / scale, low=0.0, high=0.0, resolution=RESOLUTION, where=where,
                    note=f"the step {updated.pattern}" if updated.pattern else "")


PROPERTY = Property(measure=measure, symptoms=("wrong update", "step uphill", "parameter not updated"))
