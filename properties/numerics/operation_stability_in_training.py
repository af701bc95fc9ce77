"""Training does not lead an operation that has a stable form out of the range of its dtype.

Conditions
----------
The subject has a loss and an optimiser, and the loss is finite before the first step.

Why it matters
--------------
A loss written as log(softmax), a division by a norm, an exp of a score: fine at the start, infinite as soon as the model becomes
confident. The NaN comes after minutes or days, and the operation at fault is an innocent line.

Measured
--------
Whether the short training stops being finite in an operation for which a stable form exists and whose argument is of ordinary size; the
forward and backward pass at which it stopped are run again, operation by operation. A training that stays finite is fine.

Error
-----
None: the first operation that makes a value that is not finite out of finite ones is named.

When violated
-------------
Write the stable form that is named.

Limits
------
Where the values that enter are beyond a million the operation is not to blame: see ``convergent-training``.

Sources
-------
Blanchard, Higham and Higham, Accurately computing the log-sum-exp and softmax functions, IMA Journal of Numerical Analysis 41 (2021).
"""

from gradcheck_suite.captures.operation_watch import OVERFLOWS, stable_form
from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property

ORDINARY = 1e6


def begun(training: Training) -> str | None:
    """At least one step was made from a finite loss."""
    return None if training.own.losses.size > 1 else "the loss is not finite before the first step"


def measure(training: Training) -> Evidence:
    seen = training.breakdown
    if seen is None or not stable_form(seen.operation) or seen.operation in OVERFLOWS or not seen.size < ORDINARY:
        return _evidence(0.0, Where(), "")
    where = Where(module=seen.module, function=seen.operation, source=seen.source)
    return _evidence(1.0, where, f"unstable operation: after {seen.step} steps {seen.operation} ({seen.phase} pass) is the first that is "
                                 f"not finite, its argument between {seen.smallest:.4g} and {seen.largest:.4g}; "
                                 f"{stable_form(seen.operation)}")


def _evidence(count: float, where: Where, note: str) -> Evidence:
    return Evidence(quantity="operations with a stable form that fail in training", value=count, error=0.0, low=0.0, high=0.0, where=where,
                    note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), batch=8,
                    loss="cross-entropy", dtype="float32", learning_rate=0.1)

PROPERTY = Property(
    measure=measure,
    conditions=(begun,),
    symptoms=("unstable operation", "NaN after some steps"),
    holds_for=(_NET, _NET.changed(loss="mse")),
    fails_for=(_NET.changed(defects=(Defect(kind="log-of-zero", module="", strength=30.0),), learning_rate=1.0),),
)
