"""A cross entropy sends its logits p minus the target: softmax less share, class by class, times the weight of the row.

Conditions
----------
PyTorch's ``cross_entropy`` runs in the model or in the loss, or a loss or ``autograd.Function`` that has its values on logits and
targets. Class weights, ignored classes, label smoothing, targets that are shares, and all reductions are taken as they are.

Why it matters
--------------
The rule needs no derivative: the gradient is the softmax with one taken off at the right class. A fused loss with a backward pass of
its own gets it wrong by a sign, by the one that is not taken off, by a division by the batch that is missing or done twice, or by
the smoothing. Training then goes on, elsewhere.

Measured
--------
||g - c (Σq p - q)|| over ||c (Σq p + q)||, each cross entropy alone at the logits it was given, with a random cotangent: q the target's
weight on each class, c what the reduction leaves of the cotangent; or the sums of g over the classes, zero, on the same scale, where
those are off by more; or the length of a row of g over |c| Σq, at most √2, where that is exceeded.

Error
-----
16 units of roundoff of that scale, one more for 16 classes and, where class weights divide a mean, one for each row: the sums' own.
Measured residuals are at most 4 units. What is recognised by its values, to twelve digits, is compared to six (in float32: to five, and
to two).

When violated
-------------
The note gives the factor along the right gradient, where it is one. For a loss of your own compare its backward pass with softmax
minus one-hot, divided once by what the forward pass divides by.

Limits
------
A loss by hand is recognised where its values are a cross entropy without class weights, times a constant; others, and parts of a sum of
losses, are seen by ``backprop-agreement`` alone. Of large batches the first samples are compared (2²⁰ logits); a loss by hand on more
than 2²² is not looked at.

Sources
-------
Bridle 1990, Probabilistic interpretation of feedforward classification network outputs, section 4; PyTorch documentation,
torch.nn.CrossEntropyLoss.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.cross_entropy_calls import CrossEntropyCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import DOUBLE, resolution, tolerance

_RECOGNISED = {True: 1e-6, False: 1e-2}  # the roots of the differences of values at which two functions count as the same; in float64?


def measure(cross_entropy_calls: CrossEntropyCalls) -> Iterator[Evidence]:
    seen = cross_entropy_calls
    for place, path in enumerate(seen.paths):
        epsilon, classes, rows = float(seen.epsilon[place]), int(seen.classes[place]), int(seen.rows[place])
        residual, row_sum, length = float(seen.residual[place]), float(seen.row_sum[place]), float(seen.length[place])
        error = tolerance(epsilon, 1.0, units=16.0 + classes / 16 + (rows if seen.weighted[place] else 0))
        error = error if seen.plain[place] else max(error, _RECOGNISED[epsilon == DOUBLE])
        where = Where(module=path, function=seen.functions[place], source=seen.sources[place] or None)
        note = (f"{rows} rows of {classes} classes; along p minus the target the gradient is {float(seen.ratio[place]):.6g} times what "
                f"it must be")
        if length - 2 * error > math.sqrt(2.0):
            yield Evidence(quantity="largest length of a row of the gradient", value=length, error=2 * error, low=0.0, high=math.sqrt(2.0),
                           where=where, note=note, ruled_out=("rounding",))
            continue
        name, value = ("row sums", row_sum) if row_sum > residual else ("residual", residual)
        yield Evidence(quantity=f"relative {name} of the cross entropy's gradient", value=value, error=error, low=0.0, high=0.0,
                       resolution=2 * max(resolution(epsilon), error), where=where, note=note, ruled_out=("rounding",))


_NET = Architecture(input_shape=(5,), layers=(layer("dense", units=6), layer("tanh"), layer("dense", units=4)), loss="cross-entropy")
_SEQUENCE = _NET.changed(input_shape=(6, 5), layers=(layer("gru", units=4), layer("dense", units=3)), loss="nll")


def _mistaken(kind: str, strength: float, net: Architecture = _NET) -> Architecture:
    return net.changed(defects=(Defect(kind=kind, module="", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "cross entropy", "mean instead of sum", "gradient off by a factor", "wrong sign"),
    holds_for=(_NET, _SEQUENCE, _NET.changed(dtype="float32"), _mistaken("scaled-loss", 3.0)),
    fails_for=(_mistaken("scaled-loss-gradient", -1.0), _mistaken("scaled-loss-gradient", 0.25, _SEQUENCE),
               _mistaken("scaled-loss-gradient", 1.001), _mistaken("unbalanced-loss-gradient", 0.01)),
    domain={"losses": ("cross-entropy", "nll"), "depth": (1, 5)},
)
