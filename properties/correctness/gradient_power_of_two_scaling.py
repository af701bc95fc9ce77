"""A cotangent multiplied by a power of two gives the gradient multiplied by that power, bit for bit.

Conditions
----------
The recorded graph can be differentiated several times, and no entry of the gradient is so small that scaling it would round.
What breaks the law is not declared as an intended mismatch.

Why it matters
--------------
A backward pass is linear in what comes from above. One that forgets the upstream gradient, clips it, adds an epsilon or noise, compares
it with a threshold or works in another precision is not, and still looks right for a loss whose cotangent is one.

Measured
--------
The number of bits in which the gradient of 2ᵏU differs from 2ᵏ times that of U, for k = 3 and k = -2, with one random cotangent U: at
every leaf layer, input and parameter. The place named is the first node of the graph that receives a multiple and does not pass it on.

Error
-----
None: scaling by a power of two is exact in binary floating point, so that every operation of the backward pass commutes with it. One does
not: the backward pass of the matrix exponential (as in orthogonal parametrizations) chooses its series by the size of the cotangent; what
it alone changes is not counted.

When violated
-------------
Read the backward pass of the function named: it must use its incoming gradient, and use it linearly. Clipping inside a model belongs in a
declaration of intended mismatches.

Limits
------
Wrong slopes that are linear in the cotangent pass: ``backprop-agreement`` finds those. Sums in no fixed order (GPU atomics) may differ.

Sources
-------
IEEE 754-2019, section 3 (binary formats); Higham 2002, Accuracy and stability of numerical algorithms, section 2.1 (scaling by the base is
exact barring underflow and overflow).
"""

from gradcheck_suite.captures.cotangent_algebra import CotangentAlgebra
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def scalable(cotangent_algebra: CotangentAlgebra) -> str | None:
    """No gradient entry is subnormal."""
    count = int(cotangent_algebra.subnormal.sum())
    return f"{count} entries of the gradient are too small to be scaled exactly" if count else None


def undeclared(cotangent_algebra: CotangentAlgebra) -> str | None:
    """What breaks the law is not declared as an intended mismatch."""
    return cotangent_algebra.declared()


def measure(cotangent_algebra: CotangentAlgebra) -> Evidence:
    seen = cotangent_algebra
    wrong = seen.bits > 0
    named = [name for name, bad, role in zip(seen.rows.names, wrong, seen.rows.roles, strict=True) if bad and role != "layer"]
    note = f"{int(wrong.sum())} of {len(wrong)} gradients do not scale with their cotangent: {', '.join(named[:6])}" if wrong.any() else ""
    return Evidence(
        quantity="bits of the gradient that do not scale", value=float(seen.bits.sum()), error=0.0, low=0.0, high=0.0, unit="bits",
        where=seen.suspect(wrong.tolist()), note=note, ruled_out=("rounding", "random masks (one graph)") if wrong.any() else (),
    )


_LAYERS = (layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dropout", p=0.2), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS)
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("batch_norm"), layer("relu"), layer("max_pool"), layer("flatten"))
_CONVOLUTION = _NET.changed(input_shape=(2, 6, 6), layers=(*_IMAGE, layer("dense", units=3)))


def _planted(kind: str, module: str) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module),))


PROPERTY = Property(
    measure=measure,
    conditions=(scalable, undeclared),
    symptoms=("wrong gradient", "ignored upstream gradient", "gradient clipped inside the model", "noise in the backward pass"),
    holds_for=(_NET, _CONVOLUTION, _NET.changed(dtype="float32")),
    fails_for=(_planted("ignored-upstream", "2"), _planted("nondeterministic", "0")),
    domain={"values": ("normal", "integers", "ties", "one-hot")},
)
