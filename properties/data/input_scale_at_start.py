"""What is wrong at the start, a loss ten times too high or saturated units, does not go away with standardised inputs.

Conditions
----------
The inputs are numbers, and something is wrong: the initial loss is more than ten times the best constant output's, or a sigmoid or tanh
before the last layer has a mean slope of less than a tenth of its largest.

Why it matters
--------------
Adaptive optimisers recover from inputs that are a hundred times too large, and training looks fine. The network has then lost its
initialisation: units are saturated or dead, and the features of the first layer are those that the first steps left.

Measured
--------
The forward pass is repeated, with the same weights, on inputs of mean 0 and standard deviation 1: the share of the initial loss's excess
over the best constant output's that disappears; and, per saturated layer, its mean slope there.

Error
-----
None: both are read off. More than half of the excess, or a slope of more than a tenth, says that the inputs are the reason.

When violated
-------------
Standardise the inputs: subtract the training set's mean and divide by its standard deviation, or divide pixels by 255.

Limits
------
A candidate cause. Weights that are too large do the same and are not told apart by the loss alone: see ``weight-variance``.

Sources
-------
LeCun et al., Efficient BackProp, 1998, section 4.3 (normalising the inputs); the counterfactual is run, not assumed.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.training import Training
from gradcheck_suite.captures.unit_activity import FLAT, LayerActivity, UnitActivity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import NoFailure, Property


def wrong(training: Training, unit_activity: UnitActivity) -> str | None:
    """The initial loss is far too high, or units are saturated; and the inputs are numbers."""
    if not _high(training) and not _saturated(unit_activity):
        return NoFailure("the initial loss is near the best constant output's, and no sigmoid or tanh is saturated")
    if math.isnan(training.standardised_start) and not unit_activity.standardised:
        return "all numeric inputs have mean 0 and deviation 1 already, or there are none that vary"
    return None


def measure(training: Training, unit_activity: UnitActivity) -> Iterator[Evidence]:
    if _high(training) and math.isfinite(training.standardised_start):
        start, constant = float(training.own.losses[0]), training.own.constant
        share = (start - training.standardised_start) / (start - constant)
        note = "" if share <= 0.5 else (
            f"unnormalised inputs: the initial loss {start:.4g} would be {training.standardised_start:.4g} on standardised inputs; "
            "standardise (normalise) the inputs")
        yield Evidence(quantity="share of the initial loss's excess that standardised inputs take off", value=share, error=0.0,
                       low=-math.inf, high=0.5, where=Where(), note=note)
    after = {(seen.module, seen.function, seen.after): seen for seen in unit_activity.standardised}
    for seen in _saturated(unit_activity):
        there = after.get((seen.module, seen.function, seen.after))
        if there is None:
            continue
        note = "" if there.slope <= 0.1 else (
            f"unnormalised inputs saturate the {seen.function}: its mean slope is {seen.slope:.2g} of the largest, on standardised inputs "
            f"it would be {there.slope:.2g}; standardise (normalise) the inputs")
        yield Evidence(quantity="mean slope of a saturated layer on standardised inputs", value=there.slope, error=0.0, low=0.0, high=0.1,
                       where=Where(module=seen.place, function=seen.function), note=note)


def _high(training: Training) -> bool:
    own = training.own
    return own.losses.size > 0 and own.constant > 0 and math.isfinite(own.losses[0]) and bool(own.losses[0] > 10 * own.constant)


def _saturated(unit_activity: UnitActivity) -> list[LayerActivity]:
    inner = (seen for seen in unit_activity.layers if seen.function in FLAT and seen.observations > 1 and not seen.final)
    return [seen for seen in inner if seen.slope < 0.1]


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("tanh"), layer("dense", units=3)), loss="mse", batch=16,
                    optimizer="adam", learning_rate=0.01)
_RECTIFIED = (layer("dense", units=16), layer("relu"), layer("dense", units=3))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(wrong,),
    symptoms=("unnormalised inputs", "inputs not standardised", "input scale"),
    remedies=("normalized-inputs",),
    holds_for=(_NET.changed(defects=(Defect(kind="gain", module="0", strength=300.0),
                                      Defect(kind="scaled-inputs", module="", strength=4.0))),),
    fails_for=(_NET.changed(defects=(Defect(kind="scaled-inputs", module="", strength=300.0),)),
               _NET.changed(layers=_RECTIFIED, loss="cross-entropy", values="large")),
)
