"""A forward pass does not set the state of a global random generator.

Conditions
----------
None.

Why it matters
--------------
A seed that is set inside ``forward`` gives every step the same dropout masks, the same shuffling and the same
augmentation: randomness that the whole training relies on is gone, silently.

Measured
--------
The global generators of torch, ``random`` and numpy that end two passes in the same state although they started them
in different ones.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Draw from a generator of the module's own (``torch.Generator``), or save and restore the global state around the
block.

Limits
------
Drawing from a global generator is legitimate and not counted. A seed that is set only now and then is not seen.

Sources
-------
PyTorch documentation, Reproducibility, and torch.random.fork_rng.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import GENERATOR, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(GENERATOR, "global generators")


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("seed set in forward", "same dropout mask every step"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="reseeding", module="0"),)),),
)
