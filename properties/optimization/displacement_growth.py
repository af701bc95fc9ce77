"""Two runs of gradient descent that start next to each other along the sharpest direction part by a factor |1 - lr·λ| a step.

Conditions
----------
The subject has a loss that is twice differentiable where its parameters are, its gradient is the slope of the loss there, some curvature
is positive, and the model runs in float64. A step counts where no kink lies between the runs.

Why it matters
--------------
It is why 2/λ is the longest stable step, at minima and elsewhere: beyond it neighbours part, below it they meet. The curvature that tools
report, gradient penalties and second-order optimisers rest on the same product Hv. A backward pass that cannot be differentiated makes
it wrong, and training shows nothing of it.

Measured
--------
Three steps of ``torch.optim.SGD`` from w, w + εv and w - εv, with 0.95 and 1.05 of the rate 2/λ; λ and v by Lanczos. For each step the
growth of half the distance d less ||d - lr·Hd||/||d|| (|1 - lr·λ| in the first step), over lr·||Hd||/||d||: the relative error of the
curvature that the runs show.

Error
-----
The term of order ε is the second difference of the three runs; order ε² and the gradients' rounding show in runs at ε/8; eight roundings
of the positions; the residual of the eigenvector counts in the first step. A step is judged where the sum is below 0.05.

When violated
-------------
Look for a custom backward pass that detaches, or computes in a way that is not recorded, what its result depends on: see
``second-order-agreement``.

Limits
------
An indicator, because descent itself needs no second derivative; for a model of one's own at the thorough budget only, because it costs
about 120 passes. Gradients that are stopped or changed on purpose are no slope of the loss: where Hessian and runs disagree, differences
of the loss decide which of them is right, and only the Hessian is accused.

Sources
-------
Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, ICLR 2021, section 2; Nocedal and Wright,
Numerical Optimization, 2006, section 3.3; Parlett, The symmetric eigenvalue problem, theorem 13.2.1 (residual).
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.displaced_descent import DisplacedDescent
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property

_RESOLUTION = 0.05


def measure(displaced_descent: DisplacedDescent) -> Iterator[Evidence]:
    seen = displaced_descent
    judged = seen.judged & (seen.error <= _RESOLUTION)
    if not judged.any():
        raise NotApplicable("no step is measured closely enough: higher derivatives, rounding, a kink between the runs, or a gradient that "
                            "is not the slope of the loss")
    beyond = np.where(judged, np.abs(seen.deviation) - seen.error, -np.inf)
    for rate, (row, factor) in enumerate(zip(beyond, seen.factors, strict=True)):
        step = int(np.argmax(row))
        if not judged[rate, step]:
            continue
        wrong = beyond[rate, step] > 0
        note = (f"λ = {seen.sharpness:.4g}, |1 - lr·λ| = {factor:.4g}; in step {step + 1} the distance grows by "
                f"{seen.growth[rate, step]:.6g}, the Hessian says {seen.predicted[rate, step]:.6g}"
                + (": the second derivative is not that of the gradient" if wrong else ""))
        yield Evidence(
            quantity=f"relative error of the curvature in the growth of a distance at {seen.rates[rate] * seen.sharpness / 2:.3g} of 2/λ",
            value=float(seen.deviation[rate, step]), error=float(seen.error[rate, step]), low=0.0, high=0.0, resolution=_RESOLUTION,
            where=Where(module=""), note=note, exhibits=(_table(seen, rate),), ruled_out=("rounding", "higher orders") if wrong else ())


def _table(seen: DisplacedDescent, rate: int) -> Table:
    rows = tuple((step + 1, float(grown), float(expected)) for step, (grown, expected)
                 in enumerate(zip(seen.growth[rate], seen.predicted[rate], strict=True)) if np.isfinite(grown))
    return Table(title="Growth of the distance between two runs", columns=("step", "measured", "predicted"), rows=rows)


_LAYERS = (layer("dense", units=8), layer("tanh"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), layers=_LAYERS, loss="mse", batch=8)
_DEEP = _NET.changed(layers=(layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dense", units=3)), loss="cross-entropy")
_IMAGE = (layer("conv2d", channels=4), layer("batch_norm"), layer("relu"), layer("flatten"), layer("dense", units=3))


def _planted(net: Architecture, module: str) -> Architecture:
    return net.changed(defects=(Defect(kind="detached-backward", module=module),))


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("wrong second derivative", "sharpness above the stability threshold", "double backward"),
    holds_for=(_NET, _DEEP, _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE),
               _NET.changed(defects=(Defect(kind="scaled-loss", module="", strength=1e6),))),
    fails_for=(_planted(_NET, "1"), _planted(_DEEP, "2"), _planted(_DEEP, "1")),
    domain={"losses": ("mse", "cross-entropy", "bce", "smooth-l1", "kl", "nll"), "values": ("normal", "integers"), "optimizers": ("sgd",)},
)
