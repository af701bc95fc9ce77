"""A softmax p sends a gradient through diag(p) - ppᵀ, and makes none of them more than half as long as it was.

Conditions
----------
A softmax runs: PyTorch's, alone or inside attention, or a module or ``autograd.Function`` whose values are the softmax of what it is
given. The model runs in float64.

Why it matters
--------------
The weights sum to one, so that the gradient at the scores sums to zero: raising one weight lowers the others. A backward pass written
by hand that treats the softmax as an elementwise function, or holds its denominator constant, loses the second term.

Measured
--------
||g - p (u - <p, u>)|| over ||p (|u| + <p, |u|>)||, each softmax alone at the scores the model gives it, with a random cotangent u and
its gradient g; or the largest ||g||/||u||, where that is above 1/2.

Error
-----
64 units of roundoff of that scale for PyTorch's operation (measured over 400 drawn networks: at most 1), of 1/2 for the bound. What is
recognised as a softmax by its values, to twelve digits, is compared to six.

When violated
-------------
The gradient of the scores is p times (g minus the sum of p g over the choices). Look for a missing sum, a sum over another axis, or a
``detach`` of the denominator.

Limits
------
A softmax written out inside a larger module, and fused attention kernels with a backward pass of their own, are not recognised. The
first softmax of each module is judged, on at most 2¹⁸ scores where it is PyTorch's.

Sources
-------
Bridle 1990, Probabilistic interpretation of feedforward classification network outputs, section 3 (the derivative); Gao and Pavel
2017, On the properties of the softmax function, arXiv:1704.00805 (its Lipschitz constant).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.softmax_calls import SoftmaxCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

_RECOGNISED = 1e-6  # the root of the relative difference of values at which two functions count as the same


def measure(softmax_calls: SoftmaxCalls) -> Iterator[Evidence]:
    seen = softmax_calls
    for place, path in enumerate(seen.paths):
        epsilon, residual, growth = float(seen.epsilon[place]), float(seen.residual[place]), float(seen.growth[place])
        error = tolerance(epsilon, 1.0, units=64.0)
        where = Where(module=path, function=seen.functions[place], source=seen.sources[place] or None)
        note = f"over {seen.choices[place]} choices, in {seen.rows[place]} rows"
        if growth - error > 0.5:
            yield Evidence(quantity="largest growth of a gradient through the softmax", value=growth, error=error, low=0.0, high=0.5,
                           where=where, note=note, ruled_out=("rounding",))
        else:
            error = error if seen.plain[place] else max(error, _RECOGNISED)
            yield Evidence(quantity="relative residual of the softmax's gradient", value=residual, error=error, low=0.0, high=0.0,
                           resolution=2 * max(resolution(epsilon), error), where=where,
                           note=f"{note}; at most {growth:.3g} of a gradient passes", ruled_out=("rounding",))


_NET = Architecture(input_shape=(6, 8), layers=(layer("attention", heads=2), layer("dense", units=3)))
_ENCODER = _NET.changed(layers=(layer("encoder", heads=2, hidden=12, norm="pre", causal=True), layer("encoder", heads=4, hidden=6)))


def _planted(net: Architecture, module: str, strength: float) -> Architecture:
    return net.changed(defects=(Defect(kind="forgetful-softmax", module=module, strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "attention", "softmax", "detached denominator"),
    holds_for=(_NET, _ENCODER),
    fails_for=(_planted(_NET, "0", 1.0), _planted(_NET, "0", 0.01), _planted(_ENCODER, "1", 0.1)),
    domain={"kinds": ("attention", "encoder", "dense", "layer_norm", "residual"), "input_kinds": ("sequence",)},
)
