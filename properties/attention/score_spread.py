"""The scores of an attention layer spread less over the keys than freezes its softmax.

Conditions
----------
A self-attention (``nn.MultiheadAttention`` on one sequence) runs in which some queries see eight keys or more, and the model
runs in float64.

Why it matters
--------------
Scores of standard deviation σ over T keys make the softmax fall on few keys once σ exceeds √(2 ln T), the freezing point of
Derrida's random energy model: the Jacobian vanishes, and with it the gradient of queries and keys. Scores of independent
queries and keys spread by √d without the division by the root of the head's size.

Measured
--------
The root mean square over queries and heads of the standard deviation of the scores over the keys, over the root mean square
of √(2 ln T).

Error
-----
None: the scores of this batch are computed from the layer's weights.

When violated
-------------
Divide the scores by the root of the head's size, initialise the query and key projections smaller, or normalise queries and
keys.

Limits
------
An indicator at initialisation: trained attention may be as sharp as it likes. For scores that are not nearly normal the
freezing point is approximate.

Sources
-------
Derrida 1981, Random-energy model, Phys. Rev. B 24; Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1 and footnote 4 (the
scaling).
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.attention_calls import AttentionCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def scored(attention_calls: AttentionCalls) -> str | None:
    """Some self-attention has scores to read."""
    return None if np.isfinite(attention_calls.spread).any() else "no self-attention on eight positions or more ran"


def measure(attention_calls: AttentionCalls) -> Iterator[Evidence]:
    seen = attention_calls
    for path, spread, limit, jacobian in zip(seen.paths, seen.spread, seen.freezing, seen.jacobian, strict=True):
        if np.isfinite(spread):
            yield Evidence(quantity="spread of the scores over the freezing point of the softmax", value=float(spread / limit), error=0.0,
                           low=0.0, high=1.0, where=Where(module=path), level=Level.INDICATOR,
                           note=f"scores spread by {spread:.3g}, the softmax freezes at {limit:.3g}; norm of its Jacobian {jacobian:.2g}")


def _net(*defects: Defect) -> Architecture:
    one = layer("attention", heads=1)
    return Architecture(input_shape=(16, 64), layers=(one,), batch=2, initialization="lecun-normal", defects=defects)


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(scored,),
    symptoms=("saturated softmax", "vanishing gradient", "attention without scaling", "missing scale"),
    holds_for=(_net(), _net().changed(initialization="torch-default")),
    fails_for=(_net(Defect(kind="missing-scale", module="0")),),
    domain=None,
)
