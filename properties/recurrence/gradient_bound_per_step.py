"""Back in time the gradient of a simple recurrent layer is at most the largest singular value of its recurrent weights per step.

Conditions
----------
As a simple RNN (tanh or ReLU): a recurrent layer of one layer and one direction runs over a sequence of two steps or more
from a zero state, and the model runs in float64.

Why it matters
--------------
A largest singular value below one is sufficient for gradients to vanish in time, one above it is necessary for them to
explode. The bound holds for every sequence and every weight, so a gradient above it is wrong.

Measured
--------
The largest over steps t and samples of log ||dL/dxₜ|| - log(σ(W_ih) σ(W_hh)^(T-t) ||u||), for a random cotangent u at the
last step T; each layer alone at the sequence the model gives it.

Error
-----
64 units of roundoff per step.

When violated
-------------
Something multiplies the gradient on its way back through the layer; read its backward pass.

Limits
------
An upper bound, often far from tight: how fast gradients really fade is the subject of the temporal profile.

Sources
-------
Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063, section 2.1.
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.recurrent_calls import RecurrentCalls
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import tolerance

EPSILON = 2.0**-52


def simple(recurrent_calls: RecurrentCalls) -> str | None:
    """Some layer is a simple RNN."""
    return None if np.isfinite(recurrent_calls.radius).any() else "no simple recurrent layer ran"


def measure(recurrent_calls: RecurrentCalls) -> Iterator[Evidence]:
    seen = recurrent_calls
    for path, steps, excess, radius in zip(seen.paths, seen.steps, seen.excess, seen.radius, strict=True):
        if np.isnan(radius):
            continue
        error = tolerance(EPSILON, float(steps), units=64.0)
        fate = "gradients must vanish in time" if radius < 1 else "gradients may vanish or explode in time"
        yield Evidence(quantity="log of the gradient over its bound", value=float(excess), error=error, low=float("-inf"), high=0.0,
                       resolution=2 * error, where=Where(module=path), ruled_out=("rounding",),
                       note=f"largest singular value of the recurrent weights {radius:.4g}: {fate} over {steps} steps")



def _net(kind: str, *defects: Defect) -> Architecture:
    return Architecture(input_shape=(7, 4), layers=(layer(kind, units=6), layer("last_step"), layer("dense", units=2)), defects=defects)


PROPERTY = Property(
    measure=measure,
    conditions=(simple,),
    symptoms=("wrong gradient", "exploding gradient in time", "vanishing gradient in time", "recurrent network"),
    holds_for=(_net("rnn"), _net("rnn").changed(initialization="orthogonal")),
    fails_for=(_net("rnn", Defect(kind="scaled-backward", module="0", strength=30.0)),),
    domain={"kinds": ("rnn", "dense", "last_step"), "input_kinds": ("sequence",), "values": ("normal",)},
)
