"""The output of the model differs between samples whose inputs differ.

Conditions
----------
The batch has at least two samples with different inputs, and three steps were finite.

Why it matters
--------------
A model that gives every sample the same answer has lost its input: to a dead layer, to a signal that vanished on the way and rounded
to nothing beside a bias, to a saturated output, or to an input that is never used. It can learn the mean of the targets and no more.

Measured
--------
The largest difference between the outputs of two samples, in evaluation mode, at the start and after three steps; the larger of the
two counts, so that a last layer that starts at zero is not accused.

Error
-----
None: differences are compared with zero, bit by bit.

When violated
-------------
Follow the signal forward: a layer whose units are all dead (``live-layers``), a scale that shrinks (``gradient-persistence-in-depth``),
a saturated last activation, an input that ``forward`` does not use.

Limits
------
Outputs that differ by a last bit count as different.

Sources
-------
Lu et al., Dying ReLU and initialization: theory and numerical examples, Communications in Computational Physics 28 (2020): a network
that dies becomes a constant function.
"""

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def samples_differ(first_steps: FirstSteps) -> str | None:
    """At least two samples with different inputs, and finite steps."""
    if first_steps.samples < 2:
        return "the batch has no two samples, or the outputs no axis of samples"
    if not first_steps.inputs_differ:
        return "all samples have the same input"
    return first_steps.unfinished()


def measure(first_steps: FirstSteps) -> Evidence:
    widest = float(first_steps.spread.max())
    note = "" if widest > 0 else (
        "the output is the same for all inputs, bit for bit, at the start and after three steps: the signal is lost on the way")
    return Evidence(quantity="largest difference between the outputs of two samples", value=widest, error=0.0,
                    low=float.fromhex("0x0.0000000000001p-1022"), high=float("inf"), where=Where(module=""), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("relu"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(samples_differ,),
    symptoms=("output the same for all inputs", "constant output", "model ignores its input"),
    remedies=("he-initialization", "leaky-relu-activation", "normalized-inputs"),
    holds_for=(_NET, _NET.changed(defects=(Defect(kind="zero-init", module="2"),))),
    fails_for=(_NET.changed(defects=(Defect(kind="saturated", module="0"),)),),
)
