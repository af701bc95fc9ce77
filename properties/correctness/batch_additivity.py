"""The gradient of a batch is the sum of the gradients of its samples.

Conditions
----------
Outputs and inputs share a sample axis with two samples or more, the model runs in float64, and in evaluation mode a sample's output
is the same alone as in the batch.

Why it matters
--------------
Batch size, gradient accumulation and data parallelism are only interchangeable while this is true. A backward pass that averages
where it should sum, uses the first sample for all, or mixes up the rows of a batch is right for a batch of one, which is what tests use.

Measured
--------
||g - Σ gᵢ|| over Σ||gᵢ||, g being the gradient of a random cotangent with one row per sample, gᵢ that of sample i run alone with its row.
For parameters the sum is compared, for inputs and layers' outputs the rows; the worst of them is the evidence.

Error
-----
32 units of roundoff plus eight times a measured noise (see ``gradient-linearity``).

When violated
-------------
Look at the layer named for a mean in place of a sum, an index that ignores the sample, or a sum over the wrong axis in a backward pass.
Where the note speaks of layout, the operation reads a transposed gradient as if it were not: PyTorch 2.13 does so in ``batch_norm`` in
evaluation mode, for one sample. ``x.contiguous()`` behind the layer does not help, a clone of the gradient does (``register_hook``).

Limits
------
At most six samples are used. Models whose samples influence each other in evaluation mode are told apart beforehand, not judged.

Sources
-------
Griewank and Walther 2008, Evaluating derivatives, section 3.2 (linearity of the adjoint); Goodfellow et al. 2016, Deep Learning, section
5.9 (the gradient over a set is a sum over its members).
"""

import numpy as np

from gradcheck_suite.captures.batch_algebra import BatchAlgebra
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import above_roundoff, explained, resolution

SAME = 1e-9  # relative; a float32 part of the model gives 1e-8, and its kinks may then lie on the other side


def independent(batch_algebra: BatchAlgebra) -> str | None:
    """A sample's output does not depend on the samples beside it."""
    gap = batch_algebra.gap
    return f"in evaluation mode a sample alone gives another output than in the batch (difference {gap:.2g})" if gap > SAME else None


def measure(batch_algebra: BatchAlgebra) -> Evidence:
    seen = batch_algebra
    scale = np.where(seen.scale > 0, seen.scale, 1.0)
    residual = above_roundoff(seen.residual, seen.scale, seen.epsilon)
    rows = zip(residual, scale, seen.noise, seen.other_residual, strict=True)
    allowed, rounded = np.array([explained(r, size, blur, seen.epsilon, other) for r, size, blur, other in rows]).T
    wrong = residual > allowed
    worst = int(np.argmax(np.where(rounded > 0, 0.0, residual / np.maximum(allowed, np.finfo(float).tiny))))
    note = f"{int(wrong.sum())} of {len(wrong)} gradients of {seen.samples} samples are not the sum of theirs" if wrong.any() else ""
    if wrong.any() and (seen.contiguous_residual <= allowed + seen.epsilon * seen.scale.max()).all():
        note += ("; they are where every layer is handed its gradient contiguous in memory: the backward pass of this layer misreads the "
                 "layout of a gradient (a fault of that operation, and no confusion of samples)")
    return Evidence(
        quantity="relative residual of the sum over samples", value=float(residual[worst] / scale[worst]), low=0.0, high=0.0,
        error=float(allowed[worst] / scale[worst]), resolution=2 * resolution(seen.epsilon),
        where=seen.rows.suspect(wrong.tolist()), note=note,
        ruled_out=("rounding", "samples that influence each other") if wrong.any() else (),
    )


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dense", units=3)))
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("batch_norm"), layer("relu"), layer("global_avg_pool"), layer("dense", units=3))

PROPERTY = Property(
    measure=measure,
    conditions=(independent,),
    symptoms=("wrong gradient", "mean instead of sum", "batch leakage", "gradient depends on batch size"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 5, 5), layers=_IMAGE), _NET.changed(dtype="float32")),
    fails_for=(_NET.changed(defects=(Defect(kind="swapped-samples", module="2"),)),),
    domain={"values": ("normal",), "batch": (2, 6)},
)
