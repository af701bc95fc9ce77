"""Along the depth of a fresh model neither the signal nor its gradient shrinks by more than half the digits of its dtype.

Conditions
----------
At least four modules without children ran and were reached by the gradient.

Why it matters
--------------
A gradient that shrinks from layer to layer leaves the first layers without a message; a signal that shrinks leaves the last ones without
an input. A deep stack of sigmoids loses a factor of four per layer, a ReLU stack with weights of half the critical variance a factor of
1.4.

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
Initialise for the activation (He in front of ReLU, Glorot or orthogonal in front of tanh), replace sigmoids by ReLU or GELU, add residual
connections or normalisation layers, or make the model shallower or wider.

Limits
------
The bound is sqrt(eps), 3.5 decades in float32: a change by which a sum of the two ends keeps half of its digits. Smaller changes slow
training and are not judged. Zero gradients are left to ``gradient-activity``.

Sources
-------
Hochreiter 1991; Glorot and Bengio 2010, sections 4.1 to 4.2 (layer-wise activations and back-propagated gradients); Pascanu, Mikolov and
Bengio 2013.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.core.architecture import Architecture, layer
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
        note = "" if value + error >= -seen.limit else (
            f"vanishing {'gradient' if name == 'gradient' else 'signal, and with it vanishing gradients'} in depth: from {what} the {name} "
            f"shrinks by {-value:.1f} decades over {len(seen.modules)} modules; it decays, and the far layers hardly learn; initialise for "
            "the activation (He for ReLU), replace sigmoids, or add normalisation or residual connections")
        yield Evidence(quantity=f"change of the {name}'s scale from {what}", value=value, error=error, low=-seen.limit, high=float("inf"),
                       unit="decades", where=Where(), note=note, exhibits=(seen.curve(),))


def _net(kind: str, depth: int, initialization: str) -> Architecture:
    hidden = [item for _ in range(depth) for item in (layer("dense", units=24), layer(kind))]
    return Architecture(input_shape=(12,), layers=(*hidden, layer("dense", units=3)), loss="mse", batch=8, initialization=initialization,
                        dtype="float32")


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(deep,),
    symptoms=("vanishing gradient", "vanishing signal", "bad initialisation"),
    remedies=("he-initialization", "relu-activation", "batch-normalization", "residual-connections"),
    holds_for=(_net("relu", 10, "he-normal"), _net("tanh", 10, "orthogonal"), _net("relu", 3, "torch-default")),
    fails_for=(_net("sigmoid", 10, "glorot-normal"), _net("relu", 20, "torch-default")),
)
