"""The gradient of an attention layer's value bias is what its output bias receives, carried through the output projection.

Conditions
----------
A multi-head attention (``nn.MultiheadAttention``) with biases runs on a sequence, without extra key and value rows, and the
model runs in float64. No attention weights are dropped.

Why it matters
--------------
The attention weights of a query sum to one, so that a shift of all values shifts every output alike: Σⱼ dL/dVⱼ = Σᵢ dL/dOᵢ.
Weights that do not sum to one, a mask applied after the softmax, or a backward pass that loses a query break it.

Measured
--------
||dL/db_v - W_oᵀ dL/db_o|| over || |W_o|ᵀ Σ|u| ||, each layer alone at the arguments the model gives it, with a random cotangent
u, summed over all positions. The gradients of the biases are sums in which cotangents cancel: rounding is in proportion to
what is summed.

Error
-----
64 units of roundoff of that scale; measured residuals over 200 random layers are at most 2 units.

When violated
-------------
Look at what happens to the weights between softmax and values: masks belong before the softmax.

Limits
------
Only ``nn.MultiheadAttention`` and its subclasses are judged.

Sources
-------
Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1 (weights sum to one).
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.attention_calls import AttentionCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def biased(attention_calls: AttentionCalls) -> str | None:
    """Some attention has biases and drops nothing."""
    return None if np.isfinite(attention_calls.value_sum).any() else "no attention with biases ran without dropout"


def measure(attention_calls: AttentionCalls) -> Iterator[Evidence]:
    seen = attention_calls
    for path, residual in zip(seen.paths, seen.value_sum, strict=True):
        if np.isfinite(residual):
            yield Evidence(quantity="relative residual of the value bias's gradient", value=float(residual), low=0.0, high=0.0,
                           error=tolerance(EPSILON, 1.0, units=64.0), resolution=2 * resolution(EPSILON),
                           where=Where(module=path, parameter="in_proj_bias"), note="rows of the value projection", ruled_out=("rounding",))


_NET = Architecture(input_shape=(6, 8), layers=(layer("attention", heads=2), layer("dense", units=3)))
_ENCODER = _NET.changed(layers=(layer("encoder", heads=2, hidden=12, norm="pre"), layer("encoder", heads=4, hidden=6)))


PROPERTY = Property(
    measure=measure,
    conditions=(biased,),
    symptoms=("wrong gradient", "attention", "mask after the softmax"),
    holds_for=(_NET, _ENCODER),
    fails_for=(_NET.changed(defects=(Defect(kind="shifted-gradient", module="0", strength=0.01),)),),
    domain={"kinds": ("attention", "encoder", "dense", "layer_norm"), "input_kinds": ("sequence",), "values": ("normal",)},
)
