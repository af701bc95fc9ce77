"""The gradient behind a normalisation layer has no component along its centred input but the share ε/s² that epsilon lets through.

Conditions
----------
A layer, RMS, group, instance or batch norm runs on statistics of its input, and the model runs in float64.

Why it matters
--------------
The output does not change when the centred input is stretched, but for ε: Euler's theorem then fixes <x - m, g_x>. A
backward pass that treats mean or variance as constants, the classic mistake of hand-written normalisation, leaves a radial
component. Ignoring ε is false as well: at small variance it lets nearly all of it through.

Measured
--------
|<x - m, g_x> - ε/s² <x̂, g>| over (|x̂| + √n |m|/s) |g|, the largest of all groups (of n entries) of a layer, with s² =
variance + ε, x̂ = (x - m)/s and g the cotangent times the layer's weight (m = 0 for RMS norm). The second term is what the
rounding of x - m can make, and does not shrink with the variance.

Error
-----
128 units of roundoff of that scale; measured residuals over random layers with means up to 10⁴ deviations are at most 18
units.

When violated
-------------
The backward pass must contain the terms through the mean and through the variance; see the layer's formula in the source.

Limits
------
Errors orthogonal to the centred input pass: ``zero-gradient-sum`` and ``backprop-agreement`` see those.

Sources
-------
Ioffe and Szegedy 2015, arXiv:1502.03167, section 3 (the backward formulas); Arora et al. 2019, Theoretical analysis of auto
rate-tuning by batch normalization, arXiv:1812.03981, lemma 2.1.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalization_calls import NormalizationCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def measure(normalization_calls: NormalizationCalls) -> Iterator[Evidence]:
    seen = normalization_calls
    error = tolerance(EPSILON, 1.0, units=128.0)
    for path, kind, residual, radial in zip(seen.paths, seen.kinds, seen.euler, seen.radial, strict=True):
        note = f"{kind}: epsilon lets through up to {radial:.3g} of the radial component"
        yield Evidence(quantity="relative residual of the radial gradient", value=float(residual), error=error, low=0.0, high=0.0,
                       resolution=2 * resolution(EPSILON), where=Where(module=path), note=note, ruled_out=("rounding", "epsilon"))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("layer_norm"), layer("tanh"), layer("dense", units=3)))
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("group_norm", groups=2), layer("instance_norm"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="1", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "mean or variance treated as a constant", "gradient off by a factor"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE), _NET.changed(layers=(layer("dense", units=8), layer("rms_norm")))),
    fails_for=(_planted("scaled-backward", 2.0), _planted("scaled-input-row", 1.01)),
    domain={"kinds": ("dense", "conv2d", "layer_norm", "rms_norm", "batch_norm", "group_norm", "relu"), "values": ("normal",),
            "training": True},
)
