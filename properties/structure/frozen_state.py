"""What is frozen stays as it is: parameters that require no gradient, and buffers of modules in evaluation mode.

Conditions
----------
The subject has an optimiser and three steps were finite.

Why it matters
--------------
A frozen backbone that drifts is no longer the one that was trained: weights changed through ``.data``, running statistics updated
although the module is in evaluation mode, a moving average that nobody asked for.

Measured
--------
The number of frozen parameters, and of buffers in modules in evaluation mode, of which any bit differs after three steps.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Look for assignments through ``.data`` or ``copy_`` in ``forward``, hooks and optimiser; put frozen normalisations into evaluation mode.

Limits
------
Buffers of modules in training mode are meant to change.

Sources
-------
PyTorch documentation, Autograd mechanics, Locally disabling gradient computation: requires_grad and evaluation mode are independent.
"""

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def three_steps(first_steps: FirstSteps) -> str | None:
    """Three finite steps of an optimiser."""
    return first_steps.unfinished()


def measure(first_steps: FirstSteps) -> Evidence:
    changed = first_steps.frozen_changes
    module, _, name = changed[0].rpartition(".") if changed else ("", "", "")
    note = f"frozen and yet changed within {first_steps.steps} steps: {', '.join(changed[:4])}" if changed else ""
    return Evidence(quantity="frozen tensors that changed", value=float(len(changed)), error=0.0, low=0.0, high=0.0,
                    where=Where(module=module, parameter=name) if changed else Where(), note=note)


_FROZEN = Defect(kind="frozen", module="0")
_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(three_steps,),
    symptoms=("frozen parameters change", "frozen layers drift"),
    holds_for=(_NET, _NET.changed(defects=(_FROZEN,))),
    fails_for=(_NET.changed(defects=(_FROZEN, Defect(kind="drifting", module="0"))),),
)
