"""The same forward and backward pass, from the same state and generators, gives the same gradients bit for bit.

Conditions
----------
None beside a forward and a backward pass that run.

Why it matters
--------------
A gradient that changes from one evaluation to the next cannot be checked, a run cannot be repeated, and a failure cannot be found
again. The cause is a race (a parallel sum in no fixed order), memory that was not initialised, or random numbers from outside the
generators that seeds control.

Measured
--------
The number of bits that differ between two passes: in the outputs, in the gradients of leaf layers, inputs and parameters. Model, buffers
and all generators (torch's, Python's, numpy's, and those that modules hold) are put back between the passes. Besides, two backward passes
through one graph are compared while the generators run on: a backward pass is a function of what the forward pass saved.

Error
-----
None: bits are compared.

When violated
-------------
Draw random numbers from torch's generators; initialise buffers; on a GPU set ``torch.use_deterministic_algorithms(True)`` to find the
operation. Where the outputs differ already, the forward pass is the cause.

Limits
------
Two passes can agree by chance where a race is rare. Differences below the square root of the format's epsilon can come from the order
of a parallel sum, which is legitimate on a GPU: they are an indicator.

Sources
-------
PyTorch documentation, Reproducibility; Higham 2002, Accuracy and stability of numerical algorithms, section 4.2 (the order of a sum
changes its rounding error).
"""

import numpy as np

from gradcheck_suite.captures.repeated_pass import RepeatedPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def measure(repeated_pass: RepeatedPass) -> Evidence:
    seen = repeated_pass
    total = int(np.maximum(seen.bits, seen.again_bits).sum()) + seen.output_bits
    relative = float(np.maximum(seen.relative, seen.again_relative).max(initial=0.0))
    where, note = Where(module=""), ""
    if seen.forward_bits.any():
        first = int(np.flatnonzero(seen.forward_bits)[0])
        where = Where(module=seen.rows.names[first], function=seen.rows.kinds[first] or None)
        note = f"the forward pass differs from this layer on; gradients by up to {relative:.2g} of their root mean square"
    elif seen.again_bits.any():
        where = seen.rows.suspect((seen.again_bits > 0).tolist())
        note = f"two backward passes through one graph differ, by up to {relative:.2g} of the gradient's root mean square"
    elif total:
        where = seen.rows.suspect((seen.bits > 0).tolist())
        note = f"the outputs of all layers agree, the gradients differ by up to {relative:.2g} of their root mean square"
    small = 0 < relative < float(np.sqrt(seen.epsilon.min(initial=1.0)))
    return Evidence(
        quantity="bits that differ between two passes", value=float(total), error=0.0, low=0.0, high=0.0, unit="bits", where=where,
        note=note, level=Level.INDICATOR if small else None, ruled_out=("changed state",) if total else (),
    )


_LAYERS = (layer("dense", units=8), layer("dropout", p=0.3), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, loss="mse")

PROPERTY = Property(
    measure=measure,
    symptoms=("nondeterminism", "irreproducible gradient", "gradient changes from run to run", "race"),
    holds_for=(_NET, _NET.changed(layers=(layer("dense", units=8), layer("batch_norm"), layer("relu"), layer("dense", units=2)))),
    fails_for=(_NET.changed(defects=(Defect(kind="nondeterministic", module="0", strength=0.1),)),),
    domain={},
)
