"""A forward pass leaves every parameter as it is, bit for bit.

Conditions
----------
None.

Why it matters
--------------
A parameter that its own forward pass changes is not the one the optimiser stepped on: the gradient belongs to other
weights, and evaluating a model alters it. Typical causes are clamping or normalising weights through ``.data`` inside
``forward``.

Measured
--------
For each parameter, the number of entries that differ after two forward passes in the mode of the subject and two in
eval mode.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Move the change out of ``forward`` into the training loop after ``optimizer.step()``, or express it as a
parametrisation (``torch.nn.utils.parametrize``), which autograd sees.

Limits
------
A change that is undone before the forward pass returns is not seen.

Sources
-------
PyTorch documentation, Autograd mechanics, In-place operations with autograd; torch.nn.utils.parametrize.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import PARAMETER, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(PARAMETER, "parameters")


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("forward changes weights", "in-place change of parameters", "drifting parameters"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="drifting", module="0"),)),),
)
