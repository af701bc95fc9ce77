"""A short training stays finite and does not end worse than it began and than the best constant output.

Conditions
----------
The subject has a loss and an optimiser, and the loss is finite before the first step.

Why it matters
--------------
A loss that becomes NaN or grows is the plainest of failures, and the step at which it happens says much: at once, the gradient is at
fault; after a few steps, the step size; after many, an operation that fails where the training leads.

Measured
--------
The number of initialisations, of those tried, whose losses do not stay finite for at most a hundred steps on one fixed batch. Where
they all do: by how much the last tenth of the losses lies above the larger of the first loss and the best constant output's, relative to
the latter.

Error
-----
None: the losses are read off.

When violated
-------------
If the parameters themselves are not finite, a step did it: lower the learning rate or clip gradients. If an operation is named, replace
it by its stable form.

Limits
------
The probe is short; a training that diverges later is not seen.

Sources
-------
Goodfellow, Bengio and Courville, Deep Learning, MIT Press 2016, sections 8.2.4 (cliffs and exploding gradients) and 4.1 (overflow).
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.operation_watch import stable_form
from gradcheck_suite.captures.training import BEATEN, Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def begun(training: Training) -> str | None:
    """At least one step was made from a finite loss."""
    if training.own.error:
        return f"the training raised: {training.own.error[:120]}"
    return None if training.own.losses.size > 1 else "the loss is not finite before the first step"


def measure(training: Training) -> Iterator[Evidence]:
    broken = sum(not attempt.finite for attempt in training.attempts)
    where, note = Where(), ""
    if broken and training.breakdown is not None:
        seen = training.breakdown
        where = Where(module=seen.module, function=seen.operation or None, source=seen.source)
        if seen.parameters:
            note = f"not finite after {seen.step} steps: a step made parameters that are NaN or infinite"
        else:
            note = f"not finite after {seen.step} steps: first in {seen.operation or 'an operation'} ({seen.phase or 'forward'} pass)"
            form = stable_form(seen.operation) if seen.size < 1e6 else "the values that enter it have grown without bound"
            note += f"; {form}" if form else ""
    yield Evidence(quantity="initialisations whose training does not stay finite", value=float(broken), error=0.0, low=0.0, high=0.0,
                   where=where, note=note, exhibits=(training.curve(),))
    own = training.own
    if own.finite and math.isfinite(own.constant) and own.constant != 0:
        rise = (own.reached - max(float(own.losses[0]), own.constant)) / abs(own.constant)
        worse = f"the loss rises from {own.losses[0]:.4g} to {own.reached:.4g}: the training diverges" if rise > BEATEN else ""
        yield Evidence(quantity="rise of the loss above its start and the best constant output's, relative", value=rise, error=0.0,
                       low=-math.inf, high=BEATEN, where=Where(), note=worse, exhibits=(training.curve(),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="mse", batch=16,
                    learning_rate=0.05)

PROPERTY = Property(
    measure=measure,
    conditions=(begun,),
    symptoms=("loss becomes NaN or inf", "non-finite loss during training", "training diverges"),
    remedies=("lower-learning-rate", "gradient-clipping", "normalized-inputs", "he-initialization"),
    holds_for=(_NET, _NET.changed(optimizer="adam", learning_rate=0.01)),
    fails_for=(_NET.changed(learning_rate=50.0), _NET.changed(defects=(Defect(kind="ascent", module=""),))),
)
