"""A batch in another order gives the same parameter gradients, and input gradients in that order.

Conditions
----------
Outputs and inputs share a sample axis with two samples or more, the model runs in float64, and the outputs of the permuted batch are
the permuted outputs (else the axis is a sequence's, or the model is meant to know the order). Evaluation mode is used.

Why it matters
--------------
Shuffling is harmless only while this is true. A backward pass that reads the position of a sample in its batch (a wrong axis, a reshape
that mixes rows, state carried from sample to sample) trains on the order of the data.

Measured
--------
The norm of the difference between the gradients of the batch and of a permuted batch with permuted cotangents, over the norm of the
gradient; rows of inputs and layers' outputs are put back in order first. The worst is the evidence.

Error
-----
64 units of roundoff plus eight times a measured noise (see ``gradient-linearity``).

When violated
-------------
Look at the layer named for an axis that is taken for the batch's, or for a view that crosses samples.

Limits
------
At most six samples are used. Layers that mix samples in a symmetric way (batch norm) pass, and must.

Sources
-------
Zaheer et al. 2017, Deep sets, arXiv:1703.06114, section 2 (equivariance under permutations).
"""

import numpy as np

from gradcheck_suite.captures.batch_algebra import BatchAlgebra
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import above_roundoff, explained, resolution

SAME = 1e-9  # relative


def equivariant(batch_algebra: BatchAlgebra) -> str | None:
    """The outputs of the permuted batch are the permuted outputs of the batch."""
    gap = batch_algebra.permuted_gap
    return f"a batch in another order gives other outputs (difference {gap:.2g}), as along a sequence" if gap > SAME else None


def measure(batch_algebra: BatchAlgebra) -> Evidence:
    seen = batch_algebra
    scale = np.where(seen.permuted_scale > 0, seen.permuted_scale, 1.0)
    residual = above_roundoff(seen.permuted_residual, seen.permuted_scale, seen.epsilon)
    rows = zip(residual, scale, seen.noise, seen.other_permuted_residual, strict=True)
    allowed, rounded = np.array([explained(r, size, blur, seen.epsilon, other, units=64.0) for r, size, blur, other in rows]).T
    wrong = residual > allowed
    worst = int(np.argmax(np.where(rounded > 0, 0.0, residual / np.maximum(allowed, np.finfo(float).tiny))))
    note = f"{int(wrong.sum())} of {len(wrong)} gradients depend on the order of {seen.samples} samples" if wrong.any() else ""
    return Evidence(
        quantity="relative change of the gradient under a permutation", value=float(residual[worst] / scale[worst]), low=0.0,
        high=0.0, error=float(allowed[worst] / scale[worst]), resolution=2 * resolution(seen.epsilon),
        where=seen.rows.suspect(wrong.tolist()), note=note, ruled_out=("rounding",) if wrong.any() else (),
    )


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("batch_norm"), layer("gelu"), layer("dense", units=3)))
_SEQUENCE = (layer("gru", units=5), layer("layer_norm"), layer("mean_over_time"), layer("dense", units=3))

PROPERTY = Property(
    measure=measure,
    conditions=(equivariant,),
    symptoms=("wrong gradient", "wrong axis", "gradient depends on the order of the data", "batch leakage"),
    holds_for=(_NET, _NET.changed(input_shape=(4, 3), layers=_SEQUENCE)),
    fails_for=(_NET.changed(defects=(Defect(kind="swapped-samples", module="2"),)),),
    domain={"values": ("normal",), "batch": (2, 6)},
)
