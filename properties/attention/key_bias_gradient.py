"""The bias of the key projection of an attention layer has no gradient.

Conditions
----------
A multi-head attention (``nn.MultiheadAttention``) with biases runs on a sequence, without extra key and value rows, and the
model runs in float64.

Why it matters
--------------
The key's bias adds the same number to all scores of a query, and softmax does not see it: the parameter does nothing. A
gradient that is not zero means that the softmax's backward pass does not sum to zero over the keys.

Measured
--------
The norm of the gradient of the key projection's bias over that of the input projection's whole bias, each layer alone at the
arguments the model gives it, with a random cotangent.

Error
-----
Half of the digits of float64: terms cancel in the sum, and by how much is not bounded here. Over 200 random layers residuals are at
most 22 units of roundoff; 609 were seen in a drawn network of three such layers.

When violated
-------------
Read the backward pass of the softmax: it must subtract the sum of probability times gradient over the keys.

Limits
------
Attention that is written by hand is not recognised: only ``nn.MultiheadAttention`` and its subclasses are judged.

Sources
-------
Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Namazifar et al. 2023, Role of bias terms in dot-product attention,
arXiv:2302.08626 (the key bias is redundant).
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.attention_calls import AttentionCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution

EPSILON = 2.0**-52


def biased(attention_calls: AttentionCalls) -> str | None:
    """Some attention has a bias."""
    return None if np.isfinite(attention_calls.key_bias).any() else "no attention with biases ran"


def measure(attention_calls: AttentionCalls) -> Iterator[Evidence]:
    seen = attention_calls
    for path, residual in zip(seen.paths, seen.key_bias, strict=True):
        if np.isfinite(residual):
            yield Evidence(quantity="relative gradient of the key bias", value=float(residual), error=resolution(EPSILON),
                           low=0.0, high=0.0, resolution=2 * resolution(EPSILON), where=Where(module=path, parameter="in_proj_bias"),
                           note="rows of the key projection", ruled_out=("rounding",))


_NET = Architecture(input_shape=(6, 8), layers=(layer("attention", heads=2), layer("dense", units=3)))
_ENCODER = _NET.changed(layers=(layer("encoder", heads=2, hidden=12, norm="pre"), layer("encoder", heads=4, hidden=6)))


PROPERTY = Property(
    measure=measure,
    conditions=(biased,),
    symptoms=("wrong gradient", "attention", "softmax"),
    holds_for=(_NET, _ENCODER),
    fails_for=(_NET.changed(defects=(Defect(kind="shifted-gradient", module="0", strength=0.01),)),),
    domain={"kinds": ("attention", "encoder", "dense", "layer_norm"), "input_kinds": ("sequence",), "values": ("normal",)},
)
