"""The gradient of a sum of cotangents is the sum of their gradients.

Conditions
----------
The recorded graph can be differentiated several times. What breaks the law is not declared as an intended mismatch.

Why it matters
--------------
Training code adds gradients everywhere: over samples, over losses, over micro-batches. A backward pass that is not additive (it clips,
normalises, thresholds, or computes in a lower precision than it claims) makes each of these sums mean something else.

Measured
--------
||g(3U + V) - 3g(U) - g(V)|| over 3||g(U)|| + ||g(V)|| for two random cotangents, the worst of all leaf layers, inputs and parameters.

Error
-----
32 units of roundoff plus eight times a measured noise: how far g(kW) is from k g(W) for k = 1.1, 0.7, 1.3. The rule scales with the
conditioning of the network (over 2000 ill-conditioned networks the largest residual was 0.22 of it) and ends at 3 ε^(1/4). A residual
beyond that is measured again in another precision. Where it follows the precision it is rounding (a gradient that is exactly zero, as
that of a bias before batch normalisation or of the keys of attention, leaves nothing else) and is not judged; a wrong backward pass
is as wrong in either.

When violated
-------------
Read the backward pass of the layer named. A relative residual of about 1e-7 in a float64 network is float32 arithmetic inside; one near 1
ignores or clips what comes from above.

Limits
------
Wrong slopes that are linear in the cotangent pass: ``backprop-agreement`` finds those.

Sources
-------
Griewank and Walther 2008, Evaluating derivatives, section 3.2 (the adjoint is a linear map of the cotangent); Higham 2002, section 3.1
(error of inner products).
"""

import numpy as np

from gradcheck_suite.captures.cotangent_algebra import CotangentAlgebra
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import above_roundoff, explained, resolution


def undeclared(cotangent_algebra: CotangentAlgebra) -> str | None:
    """What breaks the law is not declared as an intended mismatch."""
    return cotangent_algebra.declared()


def measure(cotangent_algebra: CotangentAlgebra) -> Evidence:
    seen = cotangent_algebra
    scale = np.where(seen.scale > 0, seen.scale, 1.0)
    residual = above_roundoff(seen.residual, seen.scale, seen.epsilon)
    rows = zip(residual, scale, seen.noise, seen.epsilon, seen.other_residual, strict=True)
    allowed, rounded = np.array([explained(*row) for row in rows]).T
    wrong = residual > allowed
    worst = int(np.argmax(np.where(rounded > 0, 0.0, residual / np.maximum(allowed, np.finfo(float).tiny))))
    notes = [f"{int(wrong.sum())} of {len(wrong)} gradients are not additive in their cotangent"] if wrong.any() else []
    if rounded.any():
        notes.append(f"{int(rounded.sum())} gradients are rounding alone (they follow the precision) and not judged")
    return Evidence(
        quantity="relative residual of additivity", value=float(residual[worst] / scale[worst]), low=0.0, high=0.0,
        error=float(allowed[worst] / scale[worst]), resolution=2 * resolution(float(seen.epsilon[worst])),
        where=seen.suspect(wrong.tolist()), note="; ".join(notes),
        ruled_out=("rounding", "random masks (one graph)") if wrong.any() else (),
    )


_LAYERS = (layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dropout", p=0.2), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS)
_RECURRENT = _NET.changed(input_shape=(5, 4), layers=(layer("lstm", units=6), layer("last_step"), layer("dense", units=2)))


def _planted(kind: str, module: str) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module),))


PROPERTY = Property(
    measure=measure,
    conditions=(undeclared,),
    symptoms=("wrong gradient", "ignored upstream gradient", "gradient clipped inside the model", "reduced precision"),
    holds_for=(_NET, _RECURRENT, _NET.changed(dtype="float32")),
    fails_for=(_planted("ignored-upstream", "2"), _planted("nondeterministic", "0")),
    domain={},
)
