"""A normalisation layer gives the same output for 2ᵏ x and 4ᵏ ε as for x and ε, and 2⁻ᵏ times the gradient, bit for bit.

Conditions
----------
A layer, RMS, group, instance or batch norm runs on statistics of its input, and the model runs in float64.

Why it matters
--------------
This is what normalisation is for: the scale of what comes in does not matter, and the gradient that goes on is inversely
proportional to it. A layer that adds ε in the wrong place, accumulates in lower precision, or whose backward pass forgets a
factor breaks it.

Measured
--------
The number of bits in which output and rescaled gradient differ for k = 3, for each layer alone at the input that the model
gives it, with a random cotangent.

Error
-----
None: scaling by a power of two is exact in binary floating point.

When violated
-------------
Compare the layer's forward and backward pass with its formula: ε belongs under the root, beside the variance, and nowhere
else.

Limits
------
Wrong factors that do not depend on the scale pass: see ``radial-gradient`` and ``gradient-contraction``.

Sources
-------
Ba et al. 2016, Layer normalization, arXiv:1607.06450, section 5.1 (invariances); Ioffe and Szegedy 2015, arXiv:1502.03167,
section 3.3; Zhang and Sennrich 2019, arXiv:1910.07467 (RMS norm).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.normalization_calls import NormalizationCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def measure(normalization_calls: NormalizationCalls) -> Iterator[Evidence]:
    seen = normalization_calls
    for path, kind, output, gradient in zip(seen.paths, seen.kinds, seen.output_bits, seen.gradient_bits, strict=True):
        note = f"{kind}: {output} bits of the output, {gradient} bits of the gradient" if output or gradient else ""
        yield Evidence(quantity="bits that depend on the scale of the input", value=float(output + gradient), error=0.0, low=0.0, high=0.0,
                       unit="bits", where=Where(module=path), note=note, ruled_out=("rounding",) if note else ())


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("layer_norm"), layer("tanh"), layer("dense", units=3)))
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("group_norm", groups=2), layer("instance_norm"))


def _planted(kind: str, strength: float = 1.0) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="1", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "normalisation depends on scale", "epsilon in the wrong place"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE), _NET.changed(layers=(layer("dense", units=8), layer("rms_norm")))),
    fails_for=(_planted("stateful", 0.01), _planted("nondeterministic", 0.1)),
    domain={"kinds": ("dense", "conv2d", "layer_norm", "rms_norm", "batch_norm", "group_norm", "relu"), "values": ("normal",),
            "training": True},
)
