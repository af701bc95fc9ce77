"""In evaluation mode the output of a sample depends on no other sample.

Conditions
----------
At least two samples; no input that relates samples to each other (an adjacency matrix, an edge list), and samples on the first axis.

Why it matters
--------------
A reshape over the wrong axis, a softmax or mean over the batch, or a sequence model fed batch-first by mistake lets every sample see
the others. Training loss falls, even to zero; predictions depend on who else is in the batch, and validation is worthless.

Measured
--------
All other samples are replaced by copies of one, and the change of that one's output is measured, for the first and the last sample;
likewise the gradient of its output with respect to the other samples' inputs. The first module whose output changes while its own input
does not is named.

Error
-----
The change between two runs on the same batch, and a thousand units in the last place of the output, for kernels that sum in another
order when other values are there. A gradient with respect to other samples has none: where it exists and is not zero, it is judged
by itself.

When violated
-------------
Look at the module named for ``view``, ``reshape``, ``permute``, ``mean``, ``softmax`` and ``norm`` with the wrong dim, for
``batch_first`` missing, and for batch statistics in evaluation mode.

Limits
------
Losses over pairs of samples (contrastive losses) are no outputs and are not judged. Of an output of shape (samples, samples), which may
be a table of all pairs (similarities of images and texts), only a sample's pair with itself is compared. Where samples may lie on the
second axis, nothing is said.

Sources
-------
Identity: d output_i / d input_j = 0 for i ≠ j in a network without coupling over the batch; Ioffe and Szegedy 2015, section 3.1
(batch statistics are replaced at inference).
"""

from gradcheck_suite.captures.batch_composition import BatchComposition
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def separate(batch_composition: BatchComposition) -> str | None:
    """There are at least two samples, and nothing relates them."""
    if batch_composition.mixing is None:
        return "the batch has no two samples, or inputs and outputs share no leading axis"
    return batch_composition.related or None


def measure(batch_composition: BatchComposition) -> Evidence:
    mixing = batch_composition.mixing
    assert mixing is not None
    scale = mixing.scale or 1.0
    error = max(mixing.noise, 1e3 * mixing.eps * mixing.scale) / scale
    change = mixing.change / scale
    mixed = (f"other samples change this sample's output by {mixing.change:.3g} of {mixing.scale:.3g}; samples mix in "
             f"{mixing.class_name or 'the model'} (a reshape, permute, mean, softmax or norm over the wrong dim, a choice made for all)")
    if mixing.gradient > 0 and change <= error:
        return Evidence(quantity="largest gradient of a sample's output with respect to other samples", value=mixing.gradient, error=0.0,
                        low=0.0, high=0.0, resolution=2 * error, where=Where(module=mixing.module),
                        note=f"batch leakage, small: {mixed}")
    note = f"batch leakage: {mixed}" if change > error else ""
    return Evidence(quantity="change of a sample's output when the others are replaced, relative", value=change, error=error,
                    low=0.0, high=0.0, resolution=2 * error, where=Where(module=mixing.module), note=note,
                    ruled_out=("nondeterminism",) if mixing.noise == 0 else ())


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("batch_norm"), layer("relu"), layer("dense", units=3)),
                    loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(separate,),
    symptoms=("batch leakage", "samples mix", "prediction depends on the rest of the batch"),
    holds_for=(_NET, _NET.changed(input_shape=(2, 8, 8), layers=(layer("conv2d", channels=4), layer("flatten"), layer("dense", units=3)))),
    fails_for=tuple(_NET.changed(defects=(Defect(kind="wrong-axis", module=module),)) for module in ("0", "3")),
)
