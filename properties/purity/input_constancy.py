"""A forward pass leaves its inputs as they are, bit for bit.

Conditions
----------
None.

Why it matters
--------------
A batch that is changed in place is another batch at the next use: the loss is computed on data that nobody loaded,
and a residual connection adds what is no longer the input.

Measured
--------
For each input tensor, the number of entries that differ after two forward passes in the mode of the subject and two
in eval mode.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Replace the in-place operation (``x += ...``, ``x[...] = ...``, ``F.relu(x, inplace=True)`` on an input) by one that
makes a new tensor.

Limits
------
Inputs that are no tensors, and tensors reached only through objects of the user's own, are not compared.

Sources
-------
PyTorch documentation, Autograd mechanics, In-place operations with autograd.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import INPUT, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(INPUT, "input tensors")


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("in-place change of inputs", "batch changes"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="input-mutation", module="0"),)),),
)
