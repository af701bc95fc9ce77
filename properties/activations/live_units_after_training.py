"""Where a set-up fails, training has not killed the units of a layer.

Conditions
----------
The set-up fails although its training stays finite, and it applies activation functions.

Why it matters
--------------
One step that is too long throws the biases of a ReLU layer so far down that no sample reaches the units again. The layer is lost for
the rest of the training, while all numbers stay finite.

Measured
--------
Per activation function and place: the share of units whose slope is zero for the whole batch after the short training.

Error
-----
None: slopes are compared with zero.

When violated
-------------
Lower the learning rate, standardise the inputs, or use an activation with a slope on both sides (leaky ReLU, GELU, ELU).

Limits
------
A candidate cause: the step that killed the units has a cause of its own. Half of a layer is a convention; healthy ReLU layers have up to
a third of their units idle on a small batch.

Sources
-------
Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, 2013; Lu et al., Dying ReLU and initialization,
2020.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def failing(training: Training) -> str | None:
    """There is a failure to explain, and units to look at."""
    unmet = training.nothing_to_explain()
    if unmet is None and not any(seen.units for seen in training.activity):
        return "no activation function was seen after the training"
    return unmet


def measure(training: Training) -> Iterator[Evidence]:
    for seen in training.activity:
        if not seen.units or seen.observations < 2:
            continue
        share = seen.dead / seen.units
        note = "" if share <= 0.5 else (
            f"dead units: {seen.dead} of {seen.units} units of this {seen.function} are never active after {training.steps} steps; lower "
            "the learning rate, or use leaky ReLU or GELU")
        yield Evidence(quantity="share of dead units after training", value=share, error=0.0, low=0.0, high=0.5,
                       where=Where(module=seen.place, function=seen.function), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="cross-entropy",
                    batch=16, values="large")

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing,),
    symptoms=("dying ReLU", "dead units"),
    remedies=("lower-learning-rate", "leaky-relu-activation", "normalized-inputs"),
    holds_for=(_NET.changed(values="normal", learning_rate=1e-7),),
    fails_for=(_NET.changed(learning_rate=1.0, layers=(layer("dense", units=16), layer("relu"), layer("dense", units=16), layer("relu"),
                                                       layer("dense", units=3))),),
)
