"""Without recurrent weights the gradient of an LSTM or GRU fades back in time by exactly the product of its carrying gates.

Conditions
----------
A recurrent layer of one layer and one direction runs over a sequence of two steps or more from a zero state, and the model
runs in float64.

Why it matters
--------------
The gates are why these layers remember: the cell of an LSTM carries the gradient by the product of its forget gates, a GRU
by that of its update gates. With W_hh = 0 the whole gradient has a closed form, which a wrong backward pass, a wrong gate
order or a doubled bias cannot match.

Measured
--------
The largest over steps t of ||dL/dxₜ - closed form|| over the norm of the whole gradient, for a random cotangent at the last
step and W_hh set to zero; each layer alone at the sequence the model gives it.

Error
-----
64 units of roundoff per step; measured residuals are below 4 units.

When violated
-------------
Read the layer's backward pass against its formulas: i, f, g, o in this order for an LSTM, r, z, n for a GRU.

Limits
------
Errors in the path through the recurrent weights are not seen: ``backprop-agreement`` sees them.

Sources
-------
Hochreiter and Schmidhuber 1997, Long short-term memory, section 3; Gers et al. 2000, Learning to forget; Cho et al. 2014,
arXiv:1406.1078; PyTorch documentation of ``LSTM`` and ``GRU``.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.recurrent_calls import RecurrentCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance

EPSILON = 2.0**-52


def measure(recurrent_calls: RecurrentCalls) -> Iterator[Evidence]:
    seen = recurrent_calls
    for path, kind, steps, residual, gate in zip(seen.paths, seen.kinds, seen.steps, seen.residual, seen.gate, strict=True):
        factor = f": without recurrent weights the gradient fades by {gate:.3g} per step" if gate else ""
        yield Evidence(quantity="relative residual of the closed form", value=float(residual), low=0.0, high=0.0,
                       error=tolerance(EPSILON, float(steps), units=64.0), resolution=2 * resolution(EPSILON), where=Where(module=path),
                       note=f"{kind} over {steps} steps{factor}", ruled_out=("rounding",))



def _net(kind: str, *defects: Defect) -> Architecture:
    return Architecture(input_shape=(7, 4), layers=(layer(kind, units=6), layer("last_step"), layer("dense", units=2)), defects=defects)


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "recurrent network", "forget gate", "vanishing gradient in time"),
    holds_for=(_net("lstm"), _net("gru"), _net("rnn"), _net("lstm").changed(initialization="he-normal", dtype="float32")),
    fails_for=(_net("lstm", Defect(kind="scaled-backward", module="0", strength=0.99)),
               _net("gru", Defect(kind="scaled-input-row", module="0", strength=1.01))),
    domain={"kinds": ("lstm", "gru", "rnn", "dense", "last_step"), "input_kinds": ("sequence",), "values": ("normal",)},
)
