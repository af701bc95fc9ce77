"""A backward pass that recomputes the forward pass gives the same gradients, bit for bit, as one that kept it.

Conditions
----------
Two plain passes from the same state agree bit for bit, and the model can be recomputed.

Why it matters
--------------
Activation checkpointing trades memory for a second forward pass. It is right only if that pass repeats the first: the same
random masks, no counters, caches or buffers that have moved on. Otherwise gradients belong to another function than the
loss, silently.

Measured
--------
The number of bits in which the gradients of inputs and parameters differ between a plain pass and one under
``torch.utils.checkpoint`` (the whole model as one segment), from the same state and generators. The power iterations of spectral
normalisation are held still while it recomputes.

Error
-----
None: bits are compared.

When violated
-------------
Look for state that the forward pass changes (counters, caches, own generators, momentum buffers that it reads back) and keep
it out of the checkpointed part.

Limits
------
An indicator: a model that is never recomputed may move its own state. Spectral normalisation does, by design, and must stay out of
checkpointed segments all the same. The model is one segment; reentrant checkpointing is not tried. Parallel sums in no fixed order are
ruled out by the repeated pass.

Sources
-------
Chen et al. 2016, Training deep nets with sublinear memory cost, arXiv:1604.06174; PyTorch documentation of
``torch.utils.checkpoint``.
"""

import numpy as np

from gradcheck_suite.captures.checkpointed_pass import CheckpointedPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def repeatable(checkpointed_pass: CheckpointedPass) -> str | None:
    """Two plain passes agree."""
    bits = checkpointed_pass.repeated_bits
    return f"two plain passes from the same state differ in {bits} bits" if bits else None


def measure(checkpointed_pass: CheckpointedPass) -> Evidence:
    seen = checkpointed_pass
    worst = int(np.argmax(seen.relative)) if len(seen.names) else 0
    wrong = int((seen.bits > 0).sum())
    module, _, parameter = seen.names[worst].rpartition(".")
    note = f"{wrong} of {len(seen.names)} gradients differ, this one by {seen.relative[worst]:.2g} of its norm" if wrong else ""
    return Evidence(
        quantity="bits of the gradients that recomputation changes", value=float(seen.bits.sum()), error=0.0, low=0.0, high=0.0,
        unit="bits", where=Where(module=module, parameter=parameter) if wrong and parameter else Where(module=""), note=note,
        ruled_out=("nondeterminism", "random masks (same generators)") if wrong else (),
    )


_LAYERS = (layer("dense", units=8), layer("dropout", p=0.3), layer("batch_norm"), layer("gelu"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS)
_TIME = (layer("lstm", units=6), layer("dropout"), layer("last_step"), layer("dense", units=2))
_RECURRENT = _NET.changed(input_shape=(5, 4), layers=_TIME)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(repeatable,),
    symptoms=("wrong gradient", "activation checkpointing", "hidden state", "counter in the forward pass"),
    holds_for=(_NET, _RECURRENT, _NET.changed(dtype="float32")),
    fails_for=(_NET.changed(defects=(Defect(kind="stateful", module="0"),)),
               _NET.changed(defects=(Defect(kind="stateful", module="3", strength=0.01),))),
    domain={},
)
