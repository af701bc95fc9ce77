"""Along the depth of a fresh model neither the signal nor its gradient grows by more than half the digits of its dtype.

Conditions
----------
At least four modules without children ran and were reached by the gradient.

Why it matters
--------------
Weights that are too large, residual branches that add up without being scaled, and batch normalisation in a very deep plain network
multiply the gradient at every layer. The first steps are then dictated by the first layers, and the loss overflows.

Measured
--------
The gradient of the loss with respect to each module's output, its norm along the depth; and the root mean square of those outputs. The
change from one end to the other, in decades: the median slope over pairs of modules times the depth, the mean over fresh
initialisations.

Error
-----
The t interval of the mean over initialisations, at a level of 0.1 %.

When violated
-------------
Initialise with variance 2/fan-in (He), scale residual branches (Fixup, zero-initialised last layer, 1/sqrt of their number), average in
place of adding parallel branches, normalise, or clip gradients.

Limits
------
The bound is sqrt(eps), 3.5 decades in float32: a change by which a sum of the two ends keeps half of its digits.

Sources
-------
Pascanu, Mikolov and Bengio 2013; Hanin and Rolnick, How to start training, 2018 (residual networks); Yang et al. 2019, A mean field theory
of batch normalization (growth in depth).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def deep(depth_profile: DepthProfile) -> str | None:
    """At least four modules with a value."""
    return depth_profile.shallow()


def measure(depth_profile: DepthProfile) -> Iterator[Evidence]:
    seen = depth_profile
    for name, sign, logs, what in (("gradient", -1.0, seen.backward, "output to input"), ("signal", 1.0, seen.forward, "input to output")):
        change = seen.change(sign * logs)
        if change is None:
            continue
        value, error = change
        note = "" if value - error <= seen.limit else (
            f"exploding {'gradient' if name == 'gradient' else 'signal, and with it exploding gradients'} in depth: from {what} the {name} "
            f"grows by {value:.1f} decades over {len(seen.modules)} modules; make the weights smaller (He or Glorot initialisation), scale "
            "residual branches, or normalise")
        yield Evidence(quantity=f"change of the {name}'s scale from {what}", value=value, error=error, low=float("-inf"), high=seen.limit,
                       unit="decades", where=Where(), note=note, exhibits=(seen.curve(),))


def _net(depth: int, gain: float) -> Architecture:
    hidden = [item for _ in range(depth) for item in (layer("dense", units=24), layer("relu"))]
    defects = tuple(Defect(kind="gain", module=str(2 * index), strength=gain) for index in range(depth))
    return Architecture(input_shape=(12,), layers=(*hidden, layer("dense", units=3)), loss="mse", batch=8, initialization="he-normal",
                        dtype="float32", defects=defects)


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(deep,),
    symptoms=("exploding gradient", "exploding signal", "bad initialisation"),
    remedies=("he-initialization", "layer-normalization", "residual-connections"),
    holds_for=(_net(10, 1.0), _net(3, 2.0)),
    fails_for=(_net(10, 4.0), _net(4, 30.0)),
)
