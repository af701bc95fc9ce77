"""A forward pass leaves the process-wide settings of torch as they are.

Conditions
----------
None.

Why it matters
--------------
A default dtype, grad mode or thread count that a module changes and does not put back alters everything that runs
after it, far from where the cause is.

Measured
--------
Default dtype and device, grad and inference mode, number of threads, anomaly detection, deterministic algorithms and
autocast, before and after two forward passes.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Use the context managers (``torch.no_grad()``, ``torch.autocast``), or pass dtype and device to the operations.

Limits
------
Settings of other libraries and environment variables are not compared.

Sources
-------
PyTorch documentation, torch.set_default_dtype, torch.set_grad_enabled, Locally disabling gradient computation.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import SETTING, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(SETTING, "settings")


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("global dtype changed", "grad mode leaks", "global state"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="leaked-dtype", module="0"),)),),
)
