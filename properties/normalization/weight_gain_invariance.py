"""In front of a batch norm weights times 2ᵏ (with ε times 4ᵏ) give the same output, and 2⁻ᵏ times the gradient, bit for bit.

Conditions
----------
A dense or convolutional layer feeds a batch norm in training mode and nothing else, its parameters are trained, and the
model runs in float64.

Why it matters
--------------
This is the exact content of the claim that batch norm cures a bad initialisation: signal and direction of the gradient do
not depend on the gain of the weights, and the gradient's size is inversely proportional to it. It does not follow that
gradients keep their scale with depth.

Measured
--------
The number of bits in which the pair's output, and 8 times its weight gradient, differ when weights and bias are multiplied
by 8 and ε by 64; the pair alone, at the input the model gives it, with a random cotangent.

Error
-----
None: scaling by a power of two is exact in binary floating point.

When violated
-------------
Look between the layer and the norm for something that does not scale: a hidden constant, noise, state from the previous
call.

Limits
------
With a fixed ε the invariance is approximate, the better the larger the variance.

Sources
-------
Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.3; Yang et al. 2019, A mean field theory of batch normalization,
arXiv:1902.08129 (gradients explode with depth at every gain).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalized_weights import NormalizedWeights
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def measure(normalized_weights: NormalizedWeights) -> Iterator[Evidence]:
    seen = normalized_weights
    for path, output, gradient in zip(seen.weights, seen.output_bits, seen.gradient_bits, strict=True):
        note = f"{output} bits of the output, {gradient} bits of the gradient" if output or gradient else ""
        yield Evidence(quantity="bits that depend on the gain of the weights", value=float(output + gradient), error=0.0, low=0.0, high=0.0,
                       unit="bits", where=Where(module=path), note=note, ruled_out=("rounding", "epsilon") if note else ())


_LAYERS = (layer("dense", units=8), layer("batch_norm"), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, batch=6)
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("conv2d", channels=3), layer("batch_norm"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="0", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "bad initialization", "normalisation depends on scale"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE)),
    fails_for=(_planted("nondeterministic", 0.1), _planted("stateful", 0.01)),
    domain={"kinds": ("dense", "conv2d", "batch_norm", "relu", "tanh"), "values": ("normal",), "training": True, "batch": (2, 6)},
)
