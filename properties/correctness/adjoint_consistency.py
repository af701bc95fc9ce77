"""The backward pass is the transpose of the forward-mode derivative.

Conditions
----------
Every operation of the model has a forward-mode derivative (hand-written ``autograd.Function``s need a ``jvp``), and the
model runs in float64.

Why it matters
--------------
Both modes differentiate the same function by different formulas: for any direction v and cotangent u, <u, Jv> must equal
<Jᵀu, v>. It is an exact identity, free of step sizes, and catches a missing term, a wrong transpose or a formula that was
changed in one mode only.

Measured
--------
<u, Jv> - <Jᵀu, v> over Σ|u·Jv| + Σ|Jᵀu·v|, for one random direction of all inputs and parameters and one random cotangent of
all outputs, from the same state and generators.

Error
-----
64 units of roundoff of that scale plus eight times a measured noise (see ``gradient-linearity``), at least 1e-10; measured residuals
over random networks are at most 2 units. A gap at a kink is not judged.

When violated
-------------
One of the two modes is wrong: ``backprop-agreement`` tells which, and where.

Limits
------
Models with custom functions that lack a ``jvp`` are not judged, nor those whose forward mode is the one that is wrong (a
finite difference decides), nor a difference that is declared or comes of ``requires_grad_(False)`` in the forward pass. An error that
both modes share passes, and so does a stop (``detach``, ``no_grad``): tangents are stopped there too.

Sources
-------
Griewank and Walther 2008, Evaluating derivatives, section 3.3; PyTorch documentation, Forward-mode automatic
differentiation.
"""

from gradcheck_suite.captures.adjoint_products import AdjointProducts
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import largest, resolution, tolerance

_UNRESOLVED = 1e-10  # numbers inside that are larger than the result round both products, and no difference can tell so small a gap


def measure(adjoint_products: AdjointProducts) -> Evidence:
    seen = adjoint_products
    scale = seen.scale or 1.0
    if abs(seen.backward - seen.difference) < 0.1 * abs(seen.forward - seen.difference):
        raise NotApplicable("the forward mode of some operation is wrong: the backward pass agrees with a finite difference")
    if seen.bend > 0.5 * abs(seen.forward - seen.backward):
        raise NotApplicable("the point lies on a kink, where forward mode and backward pass may each take another side")
    return Evidence(
        quantity="relative difference of the two products", value=abs(seen.forward - seen.backward) / scale, low=0.0, high=0.0,
        error=max(min(tolerance(seen.epsilon, 1.0, seen.noise / scale, units=64.0), largest(seen.epsilon)), _UNRESOLVED),
        resolution=2 * resolution(seen.epsilon), where=Where(module=""),
        note=f"forward mode {seen.forward:.10g}, backward pass {seen.backward:.10g}, over {seen.tensors} inputs and parameters",
        ruled_out=("rounding", "random masks (same generators)"),
    )


_LAYERS = (layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dropout", p=0.2), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS)
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("batch_norm"), layer("relu"), layer("max_pool"), layer("flatten"))

PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "gradient off by a factor", "forward mode"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=(*_IMAGE, layer("dense", units=3)))),
    fails_for=(_NET.changed(defects=(Defect(kind="scaled-backward", module="2", strength=1.01),)),
               _NET.changed(defects=(Defect(kind="scaled-row", module="0", strength=0.0),))),
    domain={"values": ("normal",)},
)
