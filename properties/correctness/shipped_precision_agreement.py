"""The gradient in the precision that a model ships in is that of its float64 twin, to rounding.

Conditions
----------
Some module has code of the user's own and computes in a type narrower than float64, a gradient reaches it in training, and the twin's
gradient agrees with differences of its forward pass in float64.

Why it matters
--------------
A backward pass that is right in exact arithmetic may accumulate in bfloat16, send a gradient through half precision where it underflows
or overflows, or raise a small number to a power that float32 cannot hold. A check in float64 passes it; training does not.

Measured
--------
For each call, at the inputs, the random draws and the incoming gradient of training, autocast regions included: the norm of the
difference between a gradient and the twin's, over the norm of the twin's, in units of what rounding explains. That is measured: the
largest such difference among three copies of the twin in which every input, every parameter and the result of every operation that rounds
is off by a random roundoff of the narrowest type that the forward pass computes in.

Error
-----
Half of the value: the largest of three random differences may be off by a factor of two from what a further copy would show.

When violated
-------------
Compute the backward pass in the type of the forward pass or wider; keep accumulators in float32; do not form powers and quotients of small
numbers apart.

Limits
------
The bound of 32 is an allowance for rounding errors that add up: over 1216 correct calls of float32 layers and models the largest value
was 6.2. Calls in which the two precisions take different branches are left out, and so are draws that are mixed
with other arithmetic. Range errors of float16 in PyTorch's own operations are the format's, and are not judged.

Sources
-------
Higham, Accuracy and Stability of Numerical Algorithms (2002), chapter 1 (a small backward error times the condition); Parker, Pierce and
Eggert, Monte Carlo arithmetic, Computing in Science and Engineering 2 (2000) (rounding at random measures the condition).
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.shipped_precision import PrecisionPlace, ShippedPrecision
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

QUANTITY = "difference of the gradient from its float64 twin's, in units of what rounding explains"
ALLOWED = 32.0


def measure(shipped_precision: ShippedPrecision) -> Iterator[Evidence]:
    if not shipped_precision.places:
        raise NotApplicable("every module is one of PyTorch's own")
    compared = [place for place in shipped_precision.places if place.status == "compared"]
    if not compared:
        reasons = sorted({place.why for place in shipped_precision.places if place.why})
        raise NotApplicable("; ".join(["nothing was compared", *reasons]))
    yield from map(_judged, compared)


def _judged(place: PrecisionPlace) -> Evidence:
    value = place.difference / max(place.spread, place.roundoff)
    error, level = (value / 2, None) if math.isfinite(value) else (0.0, None)
    off = f"{place.role} {place.tensor}: off by {place.difference:.3g} of its norm in {place.dtype}, rounding explains {place.spread:.3g}"
    note = f"{place.kind}; {off}" if value > ALLOWED else f"{place.kind} in {place.dtype}"
    if place.dtype == "float16" and place.function is None:
        error, note = (error if value <= ALLOWED else math.inf), f"{note}; no hand-written gradient: it may be the range of the format"
    if value > ALLOWED and place.intended:
        error, level, note = math.inf, Level.INDICATOR, f"intended mismatch, declared: {place.intended}; not judged"
    where = Where(module=place.module, parameter=place.tensor if place.role == "parameter" and value > ALLOWED else None,
                  function=place.function if value > ALLOWED else None, source=place.source if value > ALLOWED else None)
    return Evidence(quantity=QUANTITY, value=value, error=error, low=0.0, high=ALLOWED, where=where, note=note, level=level)


def _net(*layers: Layer, **facts: object) -> Architecture:
    return Architecture(input_shape=(6,), layers=layers, dtype="float32").changed(**facts)


_PLAIN = _net(layer("dense", units=8), layer("residual", layer("dense", units=8), layer("tanh")), layer("dense", units=3), loss="mse")

PROPERTY = Property(
    measure=measure,
    symptoms=("precision loss", "gradient underflow", "gradient overflow", "mixed precision", "bfloat16", "float16"),
    holds_for=(_PLAIN, _PLAIN.changed(defects=(Defect(kind="scaled-single-sample", module="0", strength=2.0),))),
    fails_for=(
        _PLAIN.changed(defects=(Defect(kind="narrow-gradient", module="1.0", strength=1.0),)),
        _PLAIN.changed(defects=(Defect(kind="narrow-gradient", module="2", strength=1e-6),)),
    ),
    domain=None,
)
