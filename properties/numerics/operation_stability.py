"""No operation works at the edge of what it can represent where a stable form exists.

Conditions
----------
None: one forward and backward pass is enough.

Why it matters
--------------
log of a softmax, the square root at zero, acos at one, exp of a large score, a mean over an empty mask: mathematically fine or nearly
so, in floating point infinite, or with a derivative that is. One such value makes every weight NaN in the next step.

Measured
--------
Entries of an argument at which the operation's value or derivative leaves the normal range: a log or root of less than the smallest normal
number, a division by zero, an exp within a factor e of overflow, an arc cosine at ±1 or beyond. Where loss or gradients are not finite, the
first operation, forward or backward, that makes a value that is not finite out of finite ones is named.

Error
-----
None: entries are counted.

When violated
-------------
Write the stable form that is named: ``log_softmax`` for ``log(softmax(x))``, ``logsumexp`` for ``log(sum(exp(x)))``, ``softplus`` for
``log(1 + exp(x))``, an eps inside a root, a clamp inside an arc cosine, ``torch.where`` on the argument and not on the result.

Limits
------
Only values of this batch at these weights are seen. Infinities that are asked for (masks) are not counted.

Sources
-------
Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 1; Blanchard, Higham and Higham, Accurately computing the
log-sum-exp and softmax functions, IMA Journal of Numerical Analysis 41 (2021).
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.operation_watch import Operation, OperationWatch, stable_form
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def measure(operation_watch: OperationWatch) -> Iterator[Evidence]:
    seen = operation_watch
    if seen.producer is None and not seen.fragile:
        yield _evidence(0, Where(), "")
    if seen.producer is not None:
        found = seen.producer
        what = "derivative" if found.phase == "backward" else "value"
        yield _evidence(found.entries, _place(found), f"unstable operation: the {what} of {found.name} is the first that is not finite, in "
                        f"{found.entries} entries, its argument {_range(found)}; {stable_form(found.name)}", None)
    for found in seen.fragile:
        if seen.producer is None or found.name != seen.producer.name:
            yield _evidence(found.entries, _place(found), f"unstable operation: {found.name} works at its edge in {found.entries} entries, "
                            f"its argument {_range(found)}; {stable_form(found.name)}", Level.INDICATOR)


def _evidence(entries: int, where: Where, note: str, level: Level | None = None) -> Evidence:
    return Evidence(quantity="entries at which an operation fails or is about to", value=float(entries), error=0.0, low=0.0, high=0.0,
                    unit="entries", where=where, note=note.rstrip("; "), level=level)


def _place(found: Operation) -> Where:
    return Where(module=found.module, function=found.name, source=found.source)


def _range(found: Operation) -> str:
    return "unknown" if math.isnan(found.smallest) else f"between {found.smallest:.4g} and {found.largest:.4g}"


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), batch=8,
                    loss="cross-entropy", dtype="float32")

PROPERTY = Property(
    measure=measure,
    symptoms=("unstable operation", "NaN or inf in loss or gradient", "log of zero", "square root at zero"),
    holds_for=(_NET, _NET.changed(loss="bce"), _NET.changed(values="large")),
    fails_for=tuple(_NET.changed(defects=(Defect(kind="log-of-zero", module="", strength=strength),)) for strength in (1e3, 1e5)),
)
