"""A normalisation layer never stretches a gradient by more than its weight over s, the root of variance plus ε.

Conditions
----------
A layer, RMS, group, instance or batch norm runs on statistics of its input, and the model runs in float64.

Why it matters
--------------
The Jacobian of x ↦ (x - m)/s is 1/s times a projection (and the share of ε), so its norm is at most 1/s. What a
normalisation layer does to the gradient's scale is therefore known: it divides by the scale of its input. Inputs of tiny
variance make it large: 1/√ε at worst.

Measured
--------
|g_x| s/|g|, the largest of all groups of a layer, g being the cotangent times the layer's weight.

Error
-----
128 units of roundoff times 1 + |m|/s.

When violated
-------------
The backward pass multiplies by something it should not: look for a missing division by s, or for s² in its place.

Limits
------
A bound, not an equality: a backward pass that is too small passes.

Sources
-------
Xu et al. 2019, Understanding and improving layer normalization, arXiv:1911.07013, section 3 (the gradient's statistics);
Santurkar et al. 2018, arXiv:1805.11604, theorem 4.1.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalization_calls import NormalizationCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import tolerance

EPSILON = 2.0**-52


def measure(normalization_calls: NormalizationCalls) -> Iterator[Evidence]:
    seen = normalization_calls
    for path, kind, stretch, offset in zip(seen.paths, seen.kinds, seen.contraction, seen.offset, strict=True):
        yield Evidence(quantity="stretch of the gradient, in units of weight over s", value=float(stretch), low=0.0, high=1.0,
                       error=tolerance(EPSILON, offset, units=128.0), resolution=2 * tolerance(EPSILON, offset, units=128.0),
                       where=Where(module=path), note=kind, ruled_out=("rounding",))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("layer_norm"), layer("tanh"), layer("dense", units=3)))
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("group_norm", groups=2), layer("instance_norm"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="1", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "exploding gradient", "gradient off by a factor"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE), _NET.changed(layers=(layer("dense", units=8), layer("rms_norm")))),
    fails_for=(_planted("scaled-backward", 2.0), _planted("sign-flip", 4.0)),
    domain={"kinds": ("dense", "conv2d", "layer_norm", "rms_norm", "batch_norm", "group_norm", "relu"), "values": ("normal",),
            "training": True},
)
