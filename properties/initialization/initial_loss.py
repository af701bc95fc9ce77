"""The loss starts within a factor of ten of the best constant output's, or is soon there.

Conditions
----------
The subject has a loss, the best constant output's loss is known and positive, and initialisations can be drawn.

Why it matters
--------------
Before anything is learnt, a sensible model says the same of every sample, or says little. A loss that starts a hundred times above the
best constant's comes from outputs that are far too large: the first part of the training does nothing but undo the initialisation, and
undoes with it what random features were good for.

Measured
--------
(L_0 - L_constant) / L_constant, and the number of steps until the training is at the constant's loss. An excess of 1 is what outputs
have that vary as much as the targets and know nothing of them (squared error); an excess of 9, three times their standard deviation.

Error
-----
None: the losses are read off. The bound, one decade, is a convention; where the training is at the constant's loss within a twentieth of
its steps, little is undone, and two decades are allowed.

When violated
-------------
Draw the weights with variance 2/fan-in (He) or 1/fan-in, make the last layer's weights small, start its bias at the targets' mean (or the
classes' log-odds), and standardise inputs and targets.

Limits
------
An indicator: adaptive optimisers recover. A deliberately tiny constant loss (targets that hardly vary) makes any start look bad.

Sources
-------
Karpathy, A recipe for training neural networks, 2019 (verify the loss at init; init well).
"""

import math

import numpy as np

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def comparable(training: Training) -> str | None:
    """A finite first loss and a positive loss of the best constant output."""
    if not training.own.losses.size or not math.isfinite(training.own.losses[0]):
        return "the loss is not finite before the first step"
    return None if training.own.constant > 0 else "the best constant output's loss is not positive"


def measure(training: Training) -> Evidence:
    own = training.own
    excess = (float(own.losses[0]) - own.constant) / own.constant
    below = np.flatnonzero(own.losses <= own.constant)
    recovery = f"after {below[0]} steps the training is there" if below.size else f"the training is not there after {training.steps} steps"
    quick = below.size > 0 and 20 * int(below[0]) <= training.steps
    allowed = 99.0 if quick else 9.0
    note = "" if excess <= allowed else (
        f"bad initialisation: the initial loss {own.losses[0]:.4g} is {1 + excess:.3g} times the best constant output's, "
        f"{own.constant:.4g}; {recovery}")
    return Evidence(quantity="excess of the initial loss over the best constant output's, relative", value=excess, error=0.0, low=-math.inf,
                    high=allowed, where=Where(), note=note, exhibits=(training.curve(),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("tanh"), layer("dense", units=3)), loss="cross-entropy",
                    batch=16, optimizer="adam", learning_rate=0.01)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(comparable,),
    symptoms=("bad initialisation", "initial loss too high"),
    remedies=("he-initialization", "glorot-initialization", "normalized-inputs"),
    holds_for=(_NET, _NET.changed(loss="mse"), _NET.changed(initialization="he-normal")),
    fails_for=(_NET.changed(defects=(Defect(kind="gain", module="2", strength=300.0),)),),
)
