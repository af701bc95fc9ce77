"""The gradient behind a normalisation layer that takes off the mean sums to zero over every group.

Conditions
----------
A layer, RMS, group, instance or batch norm runs on statistics of its input, and the model runs in float64. RMS norm takes
off no mean and is not judged.

Why it matters
--------------
Adding a constant to a group changes nothing, so the gradient has no component along constants. A backward pass that forgets
the path through the mean leaves one, and everything before the layer drifts.

Measured
--------
|Σ g_x| over (1 + |m|/s) Σ|g|/s, the largest of all groups of a layer: m the group's mean, s² its variance + ε, g the
cotangent times the layer's weight.

Error
-----
128 units of roundoff of that scale; measured residuals over random layers are at most 3 units.

When violated
-------------
The backward pass must take the mean off the gradient, over the same axes over which the forward pass takes it off the input.

Limits
------
Errors that sum to zero pass: ``radial-gradient`` and ``backprop-agreement`` see those.

Sources
-------
Ioffe and Szegedy 2015, arXiv:1502.03167, section 3; Ba et al. 2016, arXiv:1607.06450, section 5.1 (invariance to shifts).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalization_calls import NormalizationCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def centred(normalization_calls: NormalizationCalls) -> str | None:
    """Some layer takes off the mean."""
    return None if normalization_calls.centred.any() else "no normalisation layer takes off a mean"


def measure(normalization_calls: NormalizationCalls) -> Iterator[Evidence]:
    seen = normalization_calls
    error = tolerance(EPSILON, 1.0, units=128.0)
    for path, kind, residual, judged in zip(seen.paths, seen.kinds, seen.total, seen.centred, strict=True):
        if judged:
            yield Evidence(quantity="relative sum of the gradient", value=float(residual), error=error, low=0.0, high=0.0,
                           resolution=2 * resolution(EPSILON), where=Where(module=path), note=kind, ruled_out=("rounding",))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("layer_norm"), layer("tanh"), layer("dense", units=3)))
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("group_norm", groups=2), layer("instance_norm"))

PROPERTY = Property(
    measure=measure,
    conditions=(centred,),
    symptoms=("wrong gradient", "mean treated as a constant"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE)),
    fails_for=(_NET.changed(defects=(Defect(kind="scaled-input-row", module="1", strength=1.01),)),),
    domain={"kinds": ("dense", "conv2d", "layer_norm", "rms_norm", "batch_norm", "group_norm", "relu"), "values": ("normal",),
            "training": True},
)
