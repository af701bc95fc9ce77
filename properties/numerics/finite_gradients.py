"""The objective and every gradient of it are finite.

Conditions
----------
None.

Why it matters
--------------
One NaN or infinity in a gradient spreads to every parameter with the next step of the optimiser, and training ends. The value that
shows it first is rarely where it was made: a branch that ``where`` does not take, a square root at zero, an exponential that overflows.

Measured
--------
The number of entries that are not finite among the objective, the gradients of the parameters and those of the inputs. Where there are
any, forward and backward pass run again with every operation watched, and the first one with finite arguments and a result that is not
finite is named, with its module and the line that called it.

Error
-----
None: entries are counted.

When violated
-------------
Where values that are given are not finite already, look for them in the data (``torch.isfinite(x).all()``). Else replace the operation
named by its stable form: ``log_softmax`` for ``log(softmax)``, ``logsigmoid``, ``softplus`` for
``log(1 + exp)``, ``vector_norm`` or an epsilon under the root for ``sqrt`` at zero; move ``where`` to the argument of the function
instead of its result.

Limits
------
One batch and one state are seen. Infinities that are written on purpose (masks) are not producers.

Sources
-------
IEEE 754-2019, section 6 (infinities and NaNs propagate); Goldberg 1991, What every computer scientist should know about floating-point
arithmetic; Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions.
"""

import math

from gradcheck_suite.captures.backward_pass import BackwardPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property


def measure(backward_pass: BackwardPass) -> Evidence:
    seen = backward_pass
    bad = {name: int(count) for name, count in zip(seen.parameters, seen.parameter_gradient_nonfinite, strict=True) if count > 0}
    objective = 0 if math.isfinite(seen.objective) else 1
    total = objective + sum(bad.values()) + seen.input_gradient_nonfinite
    where, note = Where(), ""
    if seen.producer is not None:
        producer = seen.producer
        where = Where(module=producer.module, function=producer.operation, source=producer.source)
        note = f"first made in the {producer.phase} pass by {producer.operation}, from finite values"
    elif total and seen.given_nonfinite:
        note = (f"{seen.given_nonfinite} values of the inputs, targets, parameters and buffers are NaN or infinite before the pass: clean "
                "the data, or load the parameters again")
    elif total:
        note = "no single operation turned finite values into others: the values were already present or overflowed while accumulating"
    forward = sum(int(count) for count in seen.activation_nonfinite)
    reached = (f"the objective is {seen.objective}" if objective else "the objective is finite", f"{forward} activations are not finite")
    rows = tuple(sorted(bad.items()))
    exhibits = (Table(title="Gradients that are not finite", columns=("parameter", "entries"), rows=rows),) if rows else ()
    return Evidence(quantity="entries that are not finite in objective and gradients", value=float(total), error=0.0, low=0.0, high=0.0,
                    unit="entries", where=where, note=note, exhibits=exhibits, ruled_out=reached if total else ())


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse")

PROPERTY = Property(
    measure=measure,
    symptoms=("NaN", "infinite gradient", "unstable operation", "exploding gradient", "overflow"),
    remedies=("float32-precision", "normalized-inputs", "he-initialization"),
    holds_for=(_NET, _NET.changed(values="zeros"), _NET.changed(values="large", dtype="float32", loss="cross-entropy")),
    fails_for=tuple(_NET.changed(defects=(Defect(kind=kind, module="1"),)) for kind in ("nan-gradient", "nan-forward")),
    domain={},
)
