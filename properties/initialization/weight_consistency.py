"""No weight is ten times larger or smaller, in standard deviation, than the law that most of the others follow.

Conditions
----------
Initialisations can be drawn, and at least three dense or convolutional weights follow one known law closely.

Why it matters
--------------
One layer that was initialised by another rule (a gain left over from an experiment, a hand-written draw, a copied checkpoint of another
width) scales signal and gradient by its own factor. All others look right, and the mean over the model hides it.

Measured
--------
The natural logarithm of each weight's mean square over the variance of the law that more than half of the other weights follow, within ten
per cent or five standard errors.

Error
-----
Five standard errors: 5 sqrt((k - 1) / n) for n entries of kurtosis k, at least 3.

When violated
-------------
Initialise the layer named like the others.

Limits
------
Weights that are zero are left out (residual branches start there), and so is a last layer that is smaller than all others: both are
practices of their own. A weight that follows another known law within ten per cent is held against that one: by fan-in and by fan-out, a
layer of many inputs and one output differs by more than a decade. Three weights or more of one standard deviation, whatever their fan-in
(0.02 in transformers beside convolutions), are a practice as well and are left out. One decade is a convention.

Sources
-------
He et al. 2015, arXiv:1502.01852, section 2.2: every layer multiplies the scale by its own factor, so that one is enough.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.weight_law import CLOSE, ODD, WeightLaw, WeightSample
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def one_law(weight_law: WeightLaw) -> str | None:
    """Most of the weights follow one law."""
    return None if weight_law.common() else "the weights do not follow one known law, or are fewer than three"


def constant(weight: WeightSample, weight_law: WeightLaw) -> bool:
    """Whether the weight shares its mean square with two others at least, of another fan-in among them: drawn so, whatever the width."""
    alike = [other for other in weight_law.weights if other.mean_square > 0 and abs(math.log(weight.mean_square / other.mean_square))
             < max(CLOSE, weight.half_width(5.0), other.half_width(5.0))]
    return len(alike) > 2 and len({other.fan_in for other in alike}) > 1


def measure(weight_law: WeightLaw) -> Iterator[Evidence]:
    law = weight_law.common()
    for weight in weight_law.weights:
        if weight.mean_square == 0.0 or (weight.last and weight.deviation(law) < 0) or constant(weight, weight_law):
            continue
        own = weight.nearest if abs(weight.deviation(weight.nearest)) < CLOSE else law  # a rule that is known, if another than theirs
        value, error = weight.deviation(own), weight.half_width(5.0)
        note = "" if abs(value) - error <= ODD else (
            f"bad initialisation: the weights have {math.exp(value / 2):.3g} times the standard deviation of {law}, which most of the "
            "other weights follow")
        yield Evidence(quantity=f"log of the weights' variance over that of {own}", value=value, error=error, low=-ODD, high=ODD,
                       where=Where(module=weight.module, parameter=weight.name), note=note)


def _net(*defects: Defect) -> Architecture:
    hidden = [item for _ in range(4) for item in (layer("dense", units=24), layer("relu"))]
    return Architecture(input_shape=(24,), layers=(*hidden, layer("dense", units=8)), loss="mse", batch=8, initialization="he-normal",
                        defects=defects)


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(one_law,),
    symptoms=("bad initialisation", "one layer initialised differently", "weight scale"),
    remedies=("he-initialization", "glorot-initialization"),
    holds_for=(_net(), _net(Defect(kind="gain", module="2", strength=2.0))),
    fails_for=(_net(Defect(kind="gain", module="4", strength=0.01)), _net(Defect(kind="gain", module="0", strength=30.0))),
)
