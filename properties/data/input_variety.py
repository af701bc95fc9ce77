"""The inputs of a batch are not all equal.

Conditions
----------
The batch has at least 64 samples on its leading axis, shared by inputs and outputs.

Why it matters
--------------
A loader that returns the same sample again and again, or an augmentation or normalisation that erases the data, leaves nothing to learn
but the mean of the targets.

Measured
--------
Whether any sample's input differs from the first one's.

Error
-----
None: inputs are compared bit by bit.

When violated
-------------
Print a few inputs as the model receives them, after all transforms.

Limits
------
One batch is seen; inputs that differ by noise alone count as different.

Sources
-------
A function of a constant input is a constant: the best constant output is then the best there is.
"""

from gradcheck_suite.captures.target_pairing import TargetPairing
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property

FEWEST = 64


def enough(target_pairing: TargetPairing) -> str | None:
    """At least 64 samples."""
    samples = target_pairing.samples
    return None if samples >= FEWEST else f"the batch has {samples} samples; {FEWEST} are needed"


def measure(target_pairing: TargetPairing) -> Evidence:
    equal, samples = target_pairing.inputs_equal, target_pairing.samples
    note = f"constant inputs: all {samples} are equal, the data are degenerate or erased on the way to the model" if equal else ""
    return Evidence(quantity="inputs that differ from the first", value=0.0 if equal else 1.0, error=0.0, low=1.0, high=float(samples),
                    where=Where(), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=64)

PROPERTY = Property(
    measure=measure,
    conditions=(enough,),
    symptoms=("constant inputs", "all inputs identical", "degenerate data"),
    holds_for=(_NET, _NET.changed(loss="cross-entropy")),
    fails_for=(_NET.changed(defects=(Defect(kind="constant-inputs", module=""),)), _NET.changed(values="zeros")),
)
