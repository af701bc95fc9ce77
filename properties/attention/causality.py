"""No gradient flows from an output to a position that its mask, or a declaration of causality, forbids.

Conditions
----------
An attention runs under a mask of queries by keys, or a layer was declared causal; sequences of at most 64 positions; the
model runs in float64.

Why it matters
--------------
A model that sees the future trains to perfection and is worthless. Masks go wrong by one position, by their sign (True for
keep or for drop), by broadcasting, or by being added after the softmax.

Measured
--------
The number of forbidden pairs (output position, input position) through which some entry of the gradient is not exactly zero,
each layer alone at the arguments the model gives it.

Error
-----
None: a forbidden weight is exactly zero, and so is its gradient.

When violated
-------------
Look at the mask of the layer named: where it is built, what True means, and where it enters.

Limits
------
The diagonal is not judged, for queries depend on their own position. Masks that differ between heads or samples are not
judged.

Sources
-------
Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3 (masking).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.attention_calls import AttentionCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def masked(attention_calls: AttentionCalls) -> str | None:
    """Some layer forbids a pair of positions."""
    return None if (attention_calls.forbidden > 0).any() else "no mask or declaration forbids any pair of positions"


def measure(attention_calls: AttentionCalls) -> Iterator[Evidence]:
    seen = attention_calls
    for path, positions, forbidden, leaks in zip(seen.paths, seen.positions, seen.forbidden, seen.leaks, strict=True):
        if forbidden:
            yield Evidence(quantity="forbidden pairs of positions with a gradient", value=float(leaks), error=0.0, low=0.0, high=0.0,
                           unit="pairs", where=Where(module=path), note=f"of {forbidden} forbidden pairs among {positions} positions",
                           ruled_out=("rounding",) if leaks else ())


_NET = Architecture(input_shape=(6, 8), layers=(layer("attention", heads=2, causal=True), layer("dense", units=3)))
_PRE, _POST = (layer("encoder", heads=2, hidden=12, norm=norm, causal=True) for norm in ("pre", "post"))
_ENCODER = _NET.changed(layers=(_PRE, _POST))

PROPERTY = Property(
    measure=measure,
    conditions=(masked,),
    symptoms=("future leakage", "wrong mask", "attention"),
    holds_for=(_NET, _ENCODER),
    fails_for=(_NET.changed(defects=(Defect(kind="future-leak", module="0"),)),
               _ENCODER.changed(defects=(Defect(kind="future-leak", module="1"),))),
    domain={"kinds": ("attention", "encoder", "dense", "layer_norm"), "input_kinds": ("sequence",), "values": ("normal",)},
)
