"""The last activation can reach the targets: the range of the output excludes none of them.

Conditions
----------
The model ends in functions that bound or bend its output (sigmoid, tanh, softmax, ReLU, clamp), it has one floating output and a loss,
and the best constant output's loss is known.

Why it matters
--------------
A sigmoid cannot reach a target of 100, a ReLU no negative one, and a softmax in front of a cross-entropy that takes a softmax itself can
never be sure. The loss has a floor that no training passes.

Measured
--------
The least loss over free outputs within the range of those functions, minus the least with the innermost of them left out, as a share of
what there is to learn (the best constant output's loss minus that floor). Functions without which the loss is unbounded or not defined
stay, since the loss needs them.

Error
-----
That of two minimisations by L-BFGS from two starts; less than 5 % counts as nothing.

When violated
-------------
Remove the last activation, give the loss logits (``cross_entropy``, ``binary_cross_entropy_with_logits``), or scale the targets into
the range.

Limits
------
An indicator: a bounded output may be wanted, and clipped targets with it.

Sources
-------
The infimum of the loss over the closure of the range; PyTorch documentation, nn.CrossEntropyLoss (unnormalised logits are expected).
"""

import math

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import NoFailure, Property

NOTHING = 0.05


def bounded(training: Training) -> str | None:
    """The model ends in a function that bounds its output, and there are yardsticks."""
    if training.reach is None:
        return NoFailure("the model does not end in a function that bounds or bends a single output")
    if not math.isfinite(training.own.constant):
        return "the loss of the best constant output could not be found"
    return None


def measure(training: Training) -> Evidence:
    reach, constant = training.reach, training.own.constant
    assert reach is not None
    lost = max(0.0, reach.inside - reach.outside)
    span = max(constant, reach.inside) - reach.outside
    share = lost / span if span > 0 else 0.0
    dropped = " and ".join(reach.functions[: reach.dropped])
    note = "" if share <= NOTHING else (
        f"the output range excludes the targets: within the range of {', '.join(reach.functions)} the loss cannot reach less than "
        f"{reach.inside:.4g}, without the last activation ({dropped}) {reach.outside:.4g}; remove it (a redundant softmax or sigmoid), or "
        "normalise the targets into its range")
    return Evidence(quantity="share of what there is to learn that lies outside the output's range", value=share, error=0.0, low=0.0,
                    high=NOTHING, where=Where(module=reach.module, function=reach.functions[0]), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("relu"), layer("dense", units=3)), loss="mse", batch=16)
_ENDS = {end: (*_NET.layers, layer(end)) for end in ("sigmoid", "relu")}

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(bounded,),
    symptoms=("output range excludes the targets", "redundant softmax or sigmoid", "last activation unfit for the targets"),
    remedies=("linear-output", "normalized-targets"),
    holds_for=(_NET.changed(layers=(*_NET.layers, layer("softplus")), loss="kl"),),
    fails_for=(*(_NET.changed(layers=_ENDS[end]) for end in ("sigmoid", "relu")), _NET.changed(layers=_ENDS["sigmoid"], loss="bce")),
)
