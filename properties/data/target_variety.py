"""The targets of a batch are not all equal.

Conditions
----------
The subject has targets for at least 21 samples.

Why it matters
--------------
With one class, or one value, a bias is enough: the loss falls to zero and nothing was learnt of the inputs. It happens when a loader
returns the same sample again and again, when labels are cast to the wrong type, or when a batch is sorted by class.

Measured
--------
The number of samples whose target differs from the first one's: at least one is wanted.

Error
-----
None: targets are compared bit by bit. If two classes were equally likely, 21 equal targets would come up with probability 2^-20, less
than one in a million. With 64 samples or more it is a requirement; with fewer an indicator, for a rare class may be missing by chance.

When violated
-------------
Print the targets of a few batches: look at the loader's shuffling, at the dataset's labels and at casts to integers.

Limits
------
One batch is seen. A class with 5 % of the samples is missing from a batch of 64 once in 27 batches.

Sources
-------
Counting: 2 · 2^-n ≤ 1e-6 for n ≥ 21.
"""

from gradcheck_suite.captures.target_pairing import TargetPairing
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

FEWEST, CERTAIN = 21, 64


def enough(target_pairing: TargetPairing) -> str | None:
    """Targets of at least 21 samples."""
    if not target_pairing.has_targets:
        return "the subject has no targets"
    samples = target_pairing.samples
    return None if samples >= FEWEST else f"the batch has {samples} samples with a target each; {FEWEST} are needed"


def measure(target_pairing: TargetPairing) -> Evidence:
    equal, samples = target_pairing.targets_equal, target_pairing.samples
    note = f"constant targets: all {samples} are equal (one class, one value); a bias alone can learn them" if equal else ""
    return Evidence(quantity="targets that differ from the first", value=0.0 if equal else 1.0, error=0.0, low=1.0, high=float(samples),
                    where=Where(), note=note, level=None if samples >= CERTAIN else Level.INDICATOR)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), batch=64,
                    loss="cross-entropy")

PROPERTY = Property(
    measure=measure,
    conditions=(enough,),
    symptoms=("constant targets", "all labels identical", "one class only"),
    holds_for=(_NET, _NET.changed(loss="mse", batch=24)),
    fails_for=(_NET.changed(defects=(Defect(kind="constant-targets", module=""),)),),
)
