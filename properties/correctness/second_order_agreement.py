"""The gradient of the gradient is the derivative of the gradient.

Conditions
----------
A custom ``autograd.Function`` takes part in the gradient (with a thorough budget: anything), and the gradient itself is right.

Why it matters
--------------
Gradient penalties, forces, meta-learning and second-order optimisers differentiate a backward pass. A backward pass that detaches what
it saved, runs without gradients, or saved an intermediate result that is neither an input nor an output, gives a first derivative that
is right and a second one that is silently wrong.

Measured
--------
(a - d)/S for the gradients g(x, p, u) of a module call as functions of its inputs x, its parameters p and the incoming gradient u:
a by backprop through the backward pass, d by differences of gradients along one random direction, as for backprop-agreement. The call
as the model makes it, and with zeros, ties and in the other mode.

Error
-----
That of backprop-agreement, with gradients in place of outputs.

When violated
-------------
Save inputs and outputs only, with ``save_for_backward``, and compute the backward pass from them with differentiable operations. Where a
second derivative is not meant, say so: mark the backward pass with ``once_differentiable``, and PyTorch refuses instead of lying.

Limits
------
Functions marked as differentiable once, and operations that PyTorch cannot differentiate twice, promise nothing and are passed over. A
gradient with a kink (that of a ReLU is a step) is decided off the kink.

Sources
-------
PyTorch documentation, Double backward with custom Functions; Griewank and Walther, Evaluating Derivatives (2008), chapter 13.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.directional_derivative import RESOLUTION
from gradcheck_suite.captures.second_order import SecondOrder, SecondOrderPlace
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

QUANTITY = "relative disagreement between the gradient's gradient and differences of gradients"
_JUDGED = ("agrees", "disagrees", "kink", "noise")


def measure(second_order: SecondOrder) -> Iterator[Evidence]:
    judged = [place for place in second_order.places if place.status in _JUDGED]
    if not judged:
        reasons = sorted({place.why or place.status for place in second_order.places})
        raise NotApplicable("; ".join(["no second derivative is promised or can be compared", *reasons]))
    for found in judged:
        yield _compared(found)


def _compared(found: SecondOrderPlace) -> Evidence:
    place = found.place
    if found.status != "disagrees" or place is None:
        error = 0.0 if found.status == "agrees" else math.inf
        note = f"{found.kind}: {found.tried} configurations" if error == 0.0 else f"{found.kind}: undecided ({found.status})"
        return Evidence(quantity=QUANTITY, value=0.0, error=error, low=0.0, high=0.0, resolution=RESOLUTION,
                        where=Where(module=found.module), note=note)
    scale = place.scale or abs(place.numeric) or 1.0
    gap = place.analytic - place.numeric
    value, error = (math.inf, 0.0) if math.isnan(gap) else (gap / scale, place.error / scale)
    worst = place.worst
    changed = " and ".join(f"{text} [{axis}]" for axis, text in found.changes)
    parts = [found.kind, f"with {changed}" if changed else "", f"differentiated by {worst.role} {worst.name}" if worst is not None else "",
             worst.pattern if worst is not None else "", *place.note]
    note, level = "; ".join(part for part in parts if part), None
    if found.intended:
        error, note, level = math.inf, f"intended mismatch, declared: {found.intended}; not judged", Level.INDICATOR
    return Evidence(quantity=QUANTITY, value=value, error=error, low=0.0, high=0.0, resolution=RESOLUTION, note=note, level=level,
                    where=Where(module=place.module, function=place.function, source=place.source), ruled_out=place.ruled_out)


def _net(*layers: Layer, **facts: object) -> Architecture:
    return Architecture(input_shape=(6,), layers=layers).changed(**facts)


_PLAIN = _net(layer("dense", units=8), layer("tanh"), layer("dense", units=3), loss="mse")

PROPERTY = Property(
    measure=measure,
    symptoms=("wrong second derivative", "gradient penalty", "double backward", "gradgradcheck"),
    holds_for=(
        _PLAIN.changed(defects=(Defect(kind="scaled-single-sample", module="1", strength=2.0),)),
        _net(layer("dense", units=8), layer("gelu"), defects=(Defect(kind="scaled-single-sample", module="0", strength=0.5),)),
    ),
    fails_for=(
        _PLAIN.changed(defects=(Defect(kind="detached-backward", module="1"),)),
        _net(layer("dense", units=4), layer("softplus"), defects=(Defect(kind="detached-backward", module="0"),)),
    ),
    domain=None,
)
