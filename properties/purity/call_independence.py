"""In evaluation mode a pass gives the same outputs and gradients, bit for bit, however many passes came before it.

Conditions
----------
Two passes from the same state agree bit for bit, and the model can be called several times in a row.

Why it matters
--------------
A model that counts its calls and computes something else at the next one has no value to differentiate: the loss that is
logged is not the one that was differentiated, evaluation depends on the order of the batches, and recomputation
(checkpointing) differentiates another function.

Measured
--------
Parameters, buffers, tensors that modules carry, inputs and generators are put back after every call; Python values that
modules hold (counters, flags, lists of numbers) run on. The number of tensors (outputs of leaf layers, outputs of the
model, gradients) that differ between the second call and the third or fourth.

Error
-----
None: bits are compared.

When violated
-------------
Look for a counter, flag or schedule that ``forward`` reads. In evaluation mode compute from the inputs alone (``if
self.training``), or pass the schedule's position as an argument.

Limits
------
Counting alone is legitimate; only what changes the result is judged. In train mode a schedule may be meant, so there it is an
indicator. The first call may differ: it may initialise. A change at a later call than the fourth is not seen, nor are
tensors that a recurrent model carries along, which are put back. Values outside the modules (globals, closures) are
judged by ``gradient-determinism``.

Sources
-------
PyTorch documentation, nn.Module.eval and Reproducibility; Chen et al. 2016, Training deep nets with sublinear memory cost,
arXiv:1604.06174 (recomputation needs a repeatable forward pass).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.repeated_calls import RepeatedCalls
from gradcheck_suite.captures.repeated_pass import RepeatedPass
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def repeatable(repeated_pass: RepeatedPass) -> str | None:
    """Two passes from the same state agree."""
    bits = int(repeated_pass.bits.sum()) + repeated_pass.output_bits
    return f"two passes from the same state differ in {bits} bits" if bits else None


def callable_again(repeated_calls: RepeatedCalls) -> str | None:
    """Calls in a row can be compared in one mode at least."""
    return None if repeated_calls.modes else "; ".join(f"in {mode} mode {text}" for mode, text in repeated_calls.unread)


def measure(repeated_calls: RepeatedCalls) -> Iterator[Evidence]:
    evaluated = any(seen.differing for seen in repeated_calls.modes if seen.mode == "eval")
    for seen in repeated_calls.modes:
        if seen.mode == "train" and evaluated:
            continue  # the same counter, told once
        said = f"{seen.what} is the first that changes with the number of calls" if seen.differing else f"{seen.calls} calls compared"
        yield Evidence(
            quantity="tensors that differ from one call to the next", value=float(seen.differing), error=0.0, low=0.0, high=0.0,
            where=Where(module=seen.module) if seen.differing else Where(), note=f"{said} ({seen.mode} mode)",
            level=Level.INDICATOR if seen.mode == "train" else None,
            ruled_out=("nondeterminism", "parameters, buffers and generators (put back)") if seen.differing else (),
        )


_LAYERS = (layer("dense", units=8), layer("dropout", p=0.3), layer("batch_norm"), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, loss="mse")

PROPERTY = Property(
    measure=measure,
    conditions=(repeatable, callable_again),
    symptoms=("counter in the forward pass", "alternating gradient", "evaluation depends on order", "hidden state"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="stateful", module="0"),)),
               _NET.changed(training=False, defects=(Defect(kind="stateful", module="3", strength=0.01),))),
    domain={},
)
