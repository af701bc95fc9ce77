"""Max pooling over disjoint windows keeps the norm of a gradient, and average pooling divides it by the root of the window's size.

Conditions
----------
A pooling layer runs whose windows neither overlap nor reach over the edge (kernel equal to stride, no padding, or an
adaptive pool whose sizes divide), and the model runs in float64.

Why it matters
--------------
A maximum routes each entry of the gradient to exactly one place, a mean spreads it evenly: what pooling does to the
gradient's scale is known without a derivative. An entry that is lost or doubled shows in the norm.

Measured
--------
The norm of the gradient at the layer's input over that of a random cotangent at its output, over what it must be; each layer
alone at the input the model gives it.

Error
-----
32 units of roundoff.

When violated
-------------
Read the layer's backward pass: a missing division by the window's size, or a tie that is counted twice.

Limits
------
Entries that are moved to a wrong place within the input keep the norm: ``backprop-agreement`` sees those.

Sources
-------
Boureau, Ponce and LeCun 2010, A theoretical analysis of feature pooling, section 2; PyTorch documentation of ``MaxPool2d``
(the gradient goes to one maximum).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.pooling_calls import PoolingCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def measure(pooling_calls: PoolingCalls) -> Iterator[Evidence]:
    seen = pooling_calls
    for path, kind, window, ratio, expected in zip(seen.paths, seen.kinds, seen.window, seen.ratio, seen.expected, strict=True):
        yield Evidence(quantity="norm of the gradient over what pooling must make it", value=float(ratio / expected), low=1.0, high=1.0,
                       error=tolerance(EPSILON, 1.0), resolution=2 * resolution(EPSILON), where=Where(module=path),
                       note=f"{kind} over windows of {window} positions multiplies the norm by {ratio:.6g}", ruled_out=("rounding",))


def _net(pool: str, *defects: Defect, **options: int) -> Architecture:
    layers = (layer("conv2d", channels=3, padding=1), layer("tanh"), layer(pool, **options), layer("flatten"), layer("dense", units=2))
    return Architecture(input_shape=(2, 6, 6), layers=layers, defects=defects)


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "gradient off by a factor", "pooling"),
    holds_for=(_net("max_pool"), _net("avg_pool", kernel=3), _net("adaptive_avg_pool", size=2), _net("adaptive_max_pool")),
    fails_for=(_net("max_pool", Defect(kind="scaled-backward", module="2", strength=0.99)),
               _net("avg_pool", Defect(kind="scaled-input-row", module="2", strength=2.0))),
    domain={"kinds": ("conv2d", "conv1d", "max_pool", "avg_pool", "adaptive_avg_pool", "relu"), "input_kinds": ("image", "signal")},
)
