"""One step of gradient descent raises the loss where its rate is beyond 2‖g‖²/gᵀHg and lowers it below, up to third order.

Conditions
----------
The subject has a loss that is twice differentiable where its parameters are, its gradient is not zero and is the slope of the loss, gᵀHg
is positive, and the model runs in float64. A rate counts where no discrete choice of the model changes on the way, so that no kink is
crossed.

Why it matters
--------------
It is the longest step that pays, known before it is made, from one gradient and one product Hg. Line searches, trust regions and tools
that choose a learning rate rest on it.

Measured
--------
The change of the loss at rates of 2, 1, 1/2 and so on of that threshold. What the change has beyond -lr‖g‖², over ½ lr² gᵀHg, less 1: at
the rate that is measured most closely, and at 2 and 1/2 of the threshold. Within 1/2 of zero the loss rises at twice the threshold and
falls at half of it.

Error
-----
Third order, estimated from the ratio at the half and the quarter of the rate, taken twice, and 16 roundings of losses and position. The
rate that is measured most closely is judged where that is below 0.05; 2 and 1/2 where the sign of the change is decided; between them
nothing is.

When violated
-------------
gᵀHg is wrong: look for a custom backward pass that detaches, or computes in a way that is not recorded, what its result depends on: see
``second-order-agreement``.

Limits
------
An indicator, because descent itself needs no second derivative; for a model of one's own at the thorough budget only, because it costs
about fifty passes. It says nothing of the learning rate that the subject has: see ``learning-rate-stability``. Networks of rectifiers are
judged at the small rates at which none switches. A gradient that is stopped or changed on purpose is no slope of the loss: gᵀHg is
accused only where differences of the gradient agree with the loss.

Sources
-------
Nocedal and Wright, Numerical Optimization, 2006, theorem 2.1 (Taylor's) and section 3.3; LeCun, Simard and Pearlmutter 1993, Automatic
learning rate maximization by on-line estimation of the Hessian's eigenvectors.
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.gradient_line import GradientLine
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property

_SHARP, _RESOLUTION = 0.05, 0.5
_EDGES = (2.0, 0.5)


def measure(gradient_line: GradientLine) -> Iterator[Evidence]:
    seen = gradient_line
    best = int(np.argmin(seen.error))
    if not seen.error[best] <= _SHARP:
        raise NotApplicable("no rate is measured closely enough: higher derivatives, rounding or kinks on the way")
    gap = abs(float(seen.ratio[best]) - 1)
    if gap > seen.error[best] and not abs(float(seen.ratio[best]) - seen.slopes) <= min(seen.error[best] + seen.slopes_error, gap / 4):
        raise NotApplicable("the gradient is not the slope of the loss next to the start: see backprop-agreement")
    yield _second_order(seen, best, f"{seen.multiples[best]:.3g} of the threshold", "the rate measured most closely")
    for edge in _EDGES:
        position = int(np.argmin(np.abs(seen.multiples - edge)))
        value, error = abs(float(seen.ratio[position]) - 1), float(seen.error[position])
        if error <= _RESOLUTION and (value + error <= _RESOLUTION or value > error):
            says = "rises" if seen.changes[position] > 0 else "falls"
            yield _second_order(seen, position, f"it {says} by {abs(seen.changes[position]):.4g}", f"{edge:g} times the threshold")


def _second_order(seen: GradientLine, position: int, fact: str, at: str) -> Evidence:
    value, error = float(seen.ratio[position]) - 1, float(seen.error[position])
    wrong = abs(value) > error
    note = (f"loss {seen.loss:.4g}, threshold 2||g||²/gᵀHg = {seen.threshold:.4g}; {fact}"
            + (f"; the curvature along the gradient is {1 + value:.4g} times what the second derivative says" if wrong else ""))
    rows = tuple((float(multiple), float(change), float(ratio)) for multiple, change, ratio, error_here
                 in zip(seen.multiples, seen.changes, seen.ratio, seen.error, strict=True) if error_here <= _RESOLUTION)
    table = Table(title="Change of the loss in one step", columns=("rate over the threshold", "change", "second order over ½ lr² gᵀHg"),
                  rows=rows)
    return Evidence(quantity=f"second-order change of the loss over ½ lr² gᵀHg, minus 1, at {at}", value=value, error=error, low=0.0,
                    high=0.0, resolution=_RESOLUTION, where=Where(module=""), note=note, exhibits=(table,),
                    ruled_out=("rounding", "higher orders") if wrong else ())


_LAYERS = (layer("dense", units=8), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, loss="mse", batch=8)
_DEEP = _NET.changed(layers=(layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dense", units=3)), loss="cross-entropy")
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("flatten"), layer("dense", units=3))


def _planted(net: Architecture, module: str) -> Architecture:
    return net.changed(defects=(Defect(kind="detached-backward", module=module),))


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("wrong second derivative", "learning rate too high", "double backward"),
    holds_for=(_NET, _DEEP, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE),
               _NET.changed(defects=(Defect(kind="scaled-loss", module="", strength=1e6),))),
    fails_for=(_planted(_NET, "1"), _planted(_DEEP, "2"), _planted(_DEEP, "1")),
    domain={"losses": ("mse", "cross-entropy", "bce", "smooth-l1", "kl", "nll"), "values": ("normal", "integers"), "optimizers": ("sgd",)},
)
