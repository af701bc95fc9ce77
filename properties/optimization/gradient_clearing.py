"""Once a step was made with them, the optimiser's ``zero_grad`` clears the gradients.

Conditions
----------
The subject has an optimiser whose first step moved some parameter, and a second one was begun.

Why it matters
--------------
PyTorch adds every backward pass to the gradients at hand. Where those of the last step are not cleared, each step follows the sum of
all gradients so far: the set-up behaves like one with a momentum of one, overshoots, and swings without end. It may even learn, for a
small learning rate, and nothing raises an error.

Measured
--------
Over the first three steps, the number of parameters that a step moved and whose gradient was still there, not zero, after ``zero_grad``.

Error
-----
None: tensors are compared bit by bit.

When violated
-------------
Call ``optimizer.zero_grad()`` before every backward pass that begins a new step; an optimiser class that overrides it must set the
gradients to ``None`` or zero after the step that used them.

Limits
------
Gradients that are kept on purpose until a step uses them (accumulation over several batches) do not count, for no parameter moves before.

Sources
-------
PyTorch documentation, torch.optim.Optimizer.zero_grad, and the tutorial "Zeroing out gradients in PyTorch": gradients accumulate in
``.grad`` until they are cleared.
"""

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def stepped(first_steps: FirstSteps) -> str | None:
    """There is an optimiser, and at least two steps were made."""
    if not first_steps.stepped:
        return "the subject has no optimiser"
    return None if first_steps.steps > 1 else "no second step was made"


def measure(first_steps: FirstSteps) -> Evidence:
    stale = first_steps.stale
    module, _, parameter = stale[0].rpartition(".") if stale else ("", "", "")
    note = "" if not stale else (
        f"gradients accumulate: zero_grad of {first_steps.optimizer} left those of {len(stale)} parameters, so that every step adds up all "
        "gradients before it; clear the gradients before each backward pass")
    return Evidence(quantity="parameters whose gradient outlives the step that used it", value=float(len(stale)), error=0.0, low=0.0,
                    high=0.0, where=Where(module=module, parameter=parameter) if parameter else Where(), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)
_KEPT = Defect(kind="kept-gradients", module="")

PROPERTY = Property(
    measure=measure,
    conditions=(stepped,),
    symptoms=("gradients accumulate over steps", "zero_grad missing", "stale gradients"),
    holds_for=(_NET, _NET.changed(optimizer="adam")),
    fails_for=(_NET.changed(defects=(_KEPT,)), _NET.changed(defects=(_KEPT,), optimizer="adam")),
)
