"""Second derivatives are symmetric: v₁ᵀHv₂ equals v₂ᵀHv₁.

Conditions
----------
The gradient can be differentiated again, and the model runs in float64. Where the products differ, no mismatch is declared in the model.

Why it matters
--------------
Gradient penalties, meta-learning, influence functions and curvature all differentiate the backward pass. A hand-written
backward pass that detaches something gives the right gradient and a wrong Hessian, which nothing else shows.

Measured
--------
v₁ᵀHv₂ - v₂ᵀHv₁ over ||v₁|| ||Hv₂|| + ||v₂|| ||Hv₁||, H the Hessian of Σ u·f² in all inputs and parameters, for two random
directions.

Error
-----
256 units of roundoff of that scale plus eight times a measured noise (see ``gradient-linearity``); measured residuals over
random networks are at most 13 units.

When violated
-------------
Write the backward pass with differentiable operations, or mark it with ``once_differentiable`` so that it says no instead of
giving a wrong answer. A module that is asymmetric by itself is named, the innermost there is. PyTorch's own may be: in 2.13 the
second derivatives of ``instance_norm`` (one sample, channels last) and of ``_weight_norm`` are wrong.

Limits
------
An indicator: a model that detaches something on purpose (a stop-gradient, a straight-through estimator) has no symmetric
second derivative. One that is wrong and symmetric passes. Piecewise linear networks are judged where they are smooth, which
is almost everywhere.

Sources
-------
Schwarz's theorem; Pearlmutter 1994, Fast exact multiplication by the Hessian; PyTorch documentation of
``once_differentiable``.
"""

from gradcheck_suite.captures.hessian_products import HessianProducts
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import largest, resolution, tolerance


def measure(hessian_products: HessianProducts) -> Evidence:
    seen = hessian_products
    scale = seen.scale or 1.0
    alone = f"; run alone, {seen.kind} has an asymmetric second derivative too (relative {seen.alone:.2g})" if seen.alone else ""
    return Evidence(
        quantity="relative asymmetry of the second derivative", value=abs(seen.first - seen.second) / scale, low=0.0, high=0.0,
        error=min(tolerance(seen.epsilon, 1.0, seen.noise / scale, units=256.0), largest(seen.epsilon)),
        resolution=2 * resolution(seen.epsilon), where=Where(module=seen.module),
        note=f"the two products are {seen.first:.10g} and {seen.second:.10g}{alone}", ruled_out=("rounding",),
    )


_LAYERS = (layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS)
_SEQUENCE = (layer("attention", heads=2), layer("gru", units=5), layer("last_step"), layer("dense", units=2))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("wrong gradient", "second order", "double backward", "gradient penalty"),
    holds_for=(_NET, _NET.changed(input_shape=(4, 6), layers=_SEQUENCE)),
    fails_for=(_NET.changed(defects=(Defect(kind="detached-backward", module="2"),)),
               _NET.changed(defects=(Defect(kind="ignored-upstream", module="1"),))),
    domain={"values": ("normal",)},
)
