"""At initialisation the scores of attention spread by less than sqrt(2 ln n) over n choices, so that no choice takes all.

Conditions
----------
Initialisations can be drawn, and a softmax over at least eight choices weights values (it is multiplied by a matrix), or attention is
computed by a fused kernel.

Why it matters
--------------
Scores of width d have standard deviation sqrt(d) unless they are divided by it. The softmax is then one-hot from the start: it ignores
all values but one, and its derivative, p(1-p), passes no gradient to queries and keys.

Measured
--------
The standard deviation of the scores within a row, averaged over rows, over sqrt(2 ln n); where it is above 1, its mean over sixteen
further initialisations, or fewer (two at least) where sixteen would take more than a third of the probe's time. For independent normal
scores this is the freezing transition of the random energy model: below 1 the weights spread over many choices, above 1 the sum of
their squares tends to 1 - 1/value.

Error
-----
Below 1 none is claimed: the average is over all rows of the batch. Above 1, Student's interval of the mean over the initialisations, at
a false-alarm rate of 10⁻⁶: a few heads of small width differ much from one draw to the next, and few draws make it wide. None where
another seed gives the same weights: there is nothing to draw.

When violated
-------------
Divide the scores by the square root of the head's width (``scaled_dot_product_attention`` does), initialise queries and keys with
smaller weights, or normalise them. Cosines times a temperature τ have standard deviation τ/sqrt(d): wider heads need no smaller τ,
narrow ones do.

Limits
------
An indicator: such a network may learn through its values. Learned, sharp attention of a trained model is not judged.

Sources
-------
Vaswani et al., Attention is all you need, 2017, section 3.2.1, footnote 4; Derrida, Random-energy model, Physical Review B 24 (1981).
"""

import math
from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.captures.unit_activity import LayerActivity, UnitActivity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.quantiles import student_upper

FEWEST = 8
ALPHA = 1e-6


def attending(unit_activity: UnitActivity) -> list[LayerActivity]:
    """The softmaxes that weight values, over enough choices."""
    return [seen for seen in unit_activity.layers if seen.function == "softmax" and seen.inner and seen.choices >= FEWEST]


def fresh(depth_profile: DepthProfile) -> str | None:
    """Initialisations can be drawn."""
    return None if depth_profile.fresh else "the model is an instance: its weights may be trained"


def attention(unit_activity: UnitActivity) -> str | None:
    """Some attention over at least eight choices."""
    return None if attending(unit_activity) else f"no softmax over at least {FEWEST} choices weights values"


def measure(unit_activity: UnitActivity) -> Iterator[Evidence]:
    for seen in attending(unit_activity):
        value, error = seen.freezing, 0.0
        if len(seen.spreads) > 1:
            drawn = np.array(seen.spreads) / seen.freezing_point
            value = float(drawn.mean())
            error = float(drawn.std(ddof=1)) * student_upper(ALPHA, len(drawn) - 1) / math.sqrt(len(drawn))
        note = "" if value - error <= 1 else (
            f"saturated attention: scores of standard deviation {seen.spread:.2g} over {seen.choices} choices give a few of them all "
            f"the weight (sum of squares {seen.concentration:.2g}); divide the scores by the square root of the width, or lower the "
            "temperature")
        yield Evidence(quantity="spread of the scores over sqrt(2 ln n)", value=value, error=error, low=0.0, high=1.0,
                       where=Where(module=seen.module, function=seen.function), note=note)


_NET = Architecture(input_shape=(12, 16), layers=(layer("attention", heads=1), layer("mean_over_time"), layer("dense", units=3)),
                    loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(fresh, attention),
    symptoms=("saturated attention", "one-hot attention", "peaked softmax", "missing scale of attention scores"),
    remedies=("glorot-initialization",),
    holds_for=(_NET,),
    fails_for=(_NET.changed(defects=(Defect(kind="missing-scale", module="0", strength=10.0),)),),
)
