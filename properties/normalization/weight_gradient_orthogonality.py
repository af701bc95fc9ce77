"""In front of a batch norm a channel's weights are orthogonal to their gradient but for the share ε/s² that epsilon lets through.

Conditions
----------
A dense or convolutional layer feeds a batch norm in training mode and nothing else, its parameters are trained, and the
model runs in float64.

Why it matters
--------------
Batch norm makes the output independent of the weights' length, so plain gradient descent can only lengthen them
(Pythagoras), and the effective learning rate falls as they grow. A component along the weights that ε does not explain is a
wrong gradient.

Measured
--------
|<w, dL/dw> + b dL/db - ε/s² <x̂, g>| over |w| |dL/dw| + (|x̂| + √n |m|/s) |g|, the largest of all channels (of n
entries) of a layer.

Error
-----
256 units of roundoff of that scale. Ignoring ε would be false: at small variance the cosine between weights and gradient
reaches 1.

When violated
-------------
Read the backward pass of the layer and of the norm: one of them multiplies by a wrong factor, or treats mean or variance as
constants.

Limits
------
Only layers that feed a batch norm directly and alone are judged; weight decay is not part of the gradient.

Sources
-------
Arora et al. 2019, arXiv:1812.03981, lemma 2.1 (scale invariance and orthogonality); van Laarhoven 2017, arXiv:1706.05350,
section 2.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalized_weights import NormalizedWeights
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def measure(normalized_weights: NormalizedWeights) -> Iterator[Evidence]:
    seen = normalized_weights
    for path, residual, cosine, epsilon in zip(seen.weights, seen.radial, seen.cosine, seen.epsilon, strict=True):
        yield Evidence(quantity="relative residual of the radial gradient", value=float(residual), low=0.0, high=0.0,
                       error=tolerance(EPSILON, 1.0, units=256.0), resolution=2 * resolution(EPSILON),
                       where=Where(module=path, parameter="weight"), ruled_out=("rounding", "epsilon"),
                       note=f"cosine between weights and gradient up to {cosine:.3g}, epsilon's share up to {epsilon:.3g}")


_LAYERS = (layer("dense", units=8), layer("batch_norm"), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, batch=6)
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("conv2d", channels=3), layer("batch_norm"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="0", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "gradient off by a factor", "weights grow"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE)),
    fails_for=(_planted("parameter-hook", 2.0), _planted("ignored-upstream", 1.0)),
    domain={"kinds": ("dense", "conv2d", "batch_norm", "relu", "tanh"), "values": ("normal",), "training": True, "batch": (2, 6)},
)
