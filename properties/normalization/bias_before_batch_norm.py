"""A bias in front of a batch norm has no gradient.

Conditions
----------
A dense or convolutional layer feeds a batch norm in training mode and nothing else, its parameters are trained, and the
model runs in float64.

Why it matters
--------------
Batch norm takes off the mean of each channel, and the bias with it: the bias does nothing, its gradient is zero but for
rounding, and an optimiser with momentum or Adam's normalisation turns that rounding into steps. A gradient that is not zero
is wrong.

Measured
--------
|dL/db| over (1 + |m|/s) Σ|g|/s, the largest of all channels of a layer: m and s² mean and variance + ε of the channel over
the batch, g the gradient behind the norm times its weight.

Error
-----
256 units of roundoff of that scale; measured residuals over 300 random layers are at most 97 units.

When violated
-------------
The gradient that reaches the layer does not sum to zero over the batch: read the backward pass between the layer's output
and the norm. In any case write ``bias=False`` before a batch norm.

Limits
------
Only layers that feed a batch norm directly and alone are judged.

Sources
-------
Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2 (the bias can be ignored).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalized_weights import NormalizedWeights
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def biased(normalized_weights: NormalizedWeights) -> str | None:
    """Some layer before a batch norm has a bias."""
    return None if normalized_weights.biased.any() else "no layer before a batch norm has a bias"


def measure(normalized_weights: NormalizedWeights) -> Iterator[Evidence]:
    seen = normalized_weights
    for path, norm, has, residual in zip(seen.weights, seen.norms, seen.biased, seen.bias, strict=True):
        if has:
            yield Evidence(quantity="relative gradient of the bias", value=float(residual), low=0.0, high=0.0,
                           error=tolerance(EPSILON, 1.0, units=256.0), resolution=2 * resolution(EPSILON),
                           where=Where(module=path, parameter="bias"), note=f"the bias is taken off again by {norm}",
                           ruled_out=("rounding",))


_LAYERS = (layer("dense", units=8), layer("batch_norm"), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, batch=6)
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("conv2d", channels=3), layer("batch_norm"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="0", strength=strength),))


PROPERTY = Property(
    measure=measure,
    conditions=(biased,),
    symptoms=("wrong gradient", "useless bias", "bias before batch norm"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE)),
    fails_for=(_planted("ignored-upstream", 1.0),),
    domain={"kinds": ("dense", "conv2d", "batch_norm", "relu", "tanh"), "values": ("normal",), "training": True, "batch": (2, 6)},
)
