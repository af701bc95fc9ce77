"""Without biases a network of rectifiers multiplies by four when its input does, and its gradients follow bit for bit.

Conditions
----------
A plain chain of dense and convolutional layers without biases (or with zero ones), rectifiers, pools and reshapes.

Why it matters
--------------
Such a network has no scale of its own. A constant or an epsilon hidden in a forward or backward pass, a threshold away from zero, a mask
computed from something else than the sign, state left over from the previous call: each breaks the identity, and no tolerance hides it.

Measured
--------
The number of bits in which f(4x) differs from 4 f(x), and in which the gradients at 4x differ from 4 times those at x (weights and
slopes) or from those at x (inputs, layers' outputs, biases), for one random cotangent.

Error
-----
None: multiplication by four is exact in binary floating point and commutes with every operation of the chain.

When violated
-------------
Look at the layer named, or at the first layer where the outputs differ: something there compares with, or adds, a number that does not
scale.

Limits
------
Overflow and underflow would break the identity for inputs of extreme size. Errors that scale (a wrong constant factor) pass: see
``euler-identity``.

Sources
-------
Neyshabur et al. 2015, Path-SGD, arXiv:1506.02617, section 2 (positive homogeneity of rectifiers); IEEE 754-2019, section 3.
"""

from gradcheck_suite.captures.homogeneity import Homogeneity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def measure(homogeneity: Homogeneity) -> Evidence:
    seen = homogeneity
    wrong = seen.bits > 0
    total = int(seen.bits.sum()) + seen.output_bits
    what = "the output does not scale with the input" if seen.output_bits else f"{int(wrong.sum())} gradients do not scale with the input"
    return Evidence(
        quantity="bits that do not follow a scaling by four", value=float(total), error=0.0, low=0.0, high=0.0, unit="bits",
        where=Where(module="") if seen.output_bits else seen.rows.suspect(wrong.tolist()), note=what if total else "",
        ruled_out=("rounding",) if total else (),
    )


_LAYERS = (layer("dense", units=8, bias=False), layer("relu"), layer("dense", units=7, bias=False), layer("leaky_relu", slope=0.25))
_NET = Architecture(input_shape=(6,), layers=(*_LAYERS, layer("dense", units=3, bias=False)))
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("relu"), layer("max_pool"), layer("flatten"), layer("dense", units=3))
_CONVOLUTION = _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE, initialization="he-normal")


def _planted(kind: str, module: str) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module, strength=1e-3),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "hidden constant", "state left from the previous call"),
    holds_for=(_NET, _CONVOLUTION, _NET.changed(dtype="float32")),
    fails_for=(_planted("hidden-offset", "1"), _planted("nondeterministic", "2")),
    domain={"kinds": ("dense", "relu", "leaky_relu", "conv2d", "max_pool", "flatten"), "initializations": ("he-normal", "glorot-uniform"),
            "values": ("normal", "integers", "ties"), "input_kinds": ("features", "image")},
)
