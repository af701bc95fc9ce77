"""Activation functions with flat ends are used where they have a slope: on average at least a tenth of their largest.

Conditions
----------
The model applies a sigmoid, tanh or hard tanh to at least two samples, and it is not the last thing it does.

Why it matters
--------------
A saturated sigmoid or tanh passes next to none of the gradient: every layer before it learns more slowly by that factor, and the factors
of several such layers multiply.

Measured
--------
Per activation function and place: the mean over units and samples of the local slope, divided by the largest slope the function has.

Error
-----
None: slopes are computed from the values that enter.

When violated
-------------
Standardise what enters (inputs, or a normalisation layer), initialise with smaller weights (Glorot), or use ReLU or GELU.

Limits
------
The bound, one decade per layer, is a convention: an indicator. Functions inside fused recurrent kernels are not seen, and gates that
are meant to be open or shut (which have a flat end by design) are judged like any other.

Sources
-------
Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, section 3 (saturation).
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.unit_activity import FLAT, UnitActivity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property


def flat_ended(unit_activity: UnitActivity) -> str | None:
    """A function with flat ends ran on several samples, before others."""
    if unit_activity.samples < 2:
        return "the batch has no two samples"
    found = any(seen.function in FLAT and not seen.final for seen in unit_activity.layers)
    return None if found else "no sigmoid or tanh runs before the last layer"


def measure(unit_activity: UnitActivity) -> Iterator[Evidence]:
    inner = [seen for seen in unit_activity.layers if seen.function in FLAT and seen.observations > 1 and not seen.final]
    product = sum(math.log10(seen.slope) if seen.slope > 0 else -math.inf for seen in inner)
    rows = tuple((seen.place, seen.function, seen.slope) for seen in inner)
    table = Table(title="Mean slope over the largest slope", columns=("module", "function", "slope"), rows=rows)
    for seen in inner:
        note = "" if seen.slope >= 0.1 else (
            f"saturated {seen.function}: its mean slope is {seen.slope:.2g} of the largest, in the flat part; all {len(inner)} together "
            f"let 10^{product:.1f} of the gradient through")
        yield Evidence(quantity="mean slope over the largest slope", value=seen.slope, error=0.0, low=0.1, high=math.inf,
                       where=Where(module=seen.place, function=seen.function), note=note, exhibits=(table,))


def _net(kind: str, **facts: object) -> Architecture:
    return Architecture(input_shape=(12,), layers=(layer("dense", units=16), layer(kind), layer("dense", units=16), layer("relu"),
                                                   layer("dense", units=3)), loss="mse", batch=16).changed(**facts)


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(flat_ended,),
    symptoms=("saturated sigmoid or tanh", "saturation"),
    remedies=("normalized-inputs", "glorot-initialization", "layer-normalization", "relu-activation"),
    holds_for=(_net("tanh"), _net("sigmoid", initialization="glorot-normal")),
    fails_for=(_net("tanh", values="large"), _net("sigmoid", defects=(Defect(kind="saturated", module="0"),))),
)
