"""After a short training the model beats the best output that ignores the input.

Conditions
----------
The subject has a loss and an optimiser, the loss of the best constant output is known, not zero and not the least that outputs can have,
and the training stays finite.

Why it matters
--------------
A constant output is what remains when nothing is learnt of the inputs. Whatever is wrong (dead units, vanishing gradients, a
detached branch, a learning rate a thousand times too small), this is where it shows, and no threshold on gradients is needed.

Measured
--------
(L_constant - L_reached) / |L_constant| on one fixed batch with the subject's own optimiser, L_reached being the mean over the last
tenth of at most a hundred steps; the median over initialisations. L_constant is found by minimising the subject's own loss over outputs
that are the same for all samples, within the range of the model's last activation.

Error
-----
Less than 5 % counts as nothing, a convention for the few initialisations that can be afforded. Where the owner trains for longer, the
fall of the losses is continued as a geometric series to the owner's number of steps; where that ends above the 5 %, nothing is said.
Where a training on inputs that say nothing does clearly worse than every initialisation, and so does one on targets dealt to the samples
at random, the loss may have a high floor, and nothing is said either.

When violated
-------------
The candidate causes come with it, ranked: look at those first. The quickest trial is a learning rate ten times larger or smaller.

Limits
------
One batch: a model that passes may still not generalise. A model that needs a warm-up longer than the probe may fail.

Sources
-------
Karpathy, A recipe for training neural networks, 2019 (overfit one batch, input-independent baseline); the comparison with the best
constant is the definition of R² > 0 for squared errors.
"""

import math

from gradcheck_suite.captures.training import BEATEN, Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def comparable(training: Training) -> str | None:
    """The training stays finite and the best constant output's loss is known."""
    if not all(attempt.finite for attempt in training.attempts):
        return "the training breaks off: see convergent-training"
    return None if math.isfinite(training.gain) else "the loss of the best constant output is zero, the least of all, or could not be found"


def measure(training: Training) -> Evidence:
    gain, outlook = training.gain, training.outlook
    error, note = 0.0, ""
    if gain < BEATEN:
        note = (f"does not learn: nothing learnt in {training.steps} steps, the loss reaches {training.own.reached:.4g}, the best constant "
                f"output has {training.own.constant:.4g}")
        if outlook >= BEATEN:
            error = outlook - gain
            note = f"slow: if it goes on falling so, the loss may end {outlook:.0%} below the best constant output's"
        elif training.above_floor():
            error = BEATEN - gain
            note = "little is learnt, and yet more than from inputs that say nothing: the loss may have a high floor"
        elif training.unpaired():
            note += "; targets dealt to the samples at random are explained as well: shuffled targets, or inputs that say nothing of them"
    return Evidence(quantity="share of the best constant output's loss that is explained", value=gain, error=error, low=BEATEN,
                    high=math.inf, where=Where(), note=note, exhibits=(training.curve(),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="cross-entropy",
                    batch=16, optimizer="adam", learning_rate=0.01)

PROPERTY = Property(
    measure=measure,
    conditions=(comparable,),
    symptoms=("nothing learnt", "does not learn", "loss does not decrease", "no better than the constant predictor"),
    remedies=("adam-optimizer", "he-initialization", "normalized-inputs", "lower-learning-rate", "higher-learning-rate"),
    holds_for=(_NET, _NET.changed(loss="mse")),
    fails_for=(_NET.changed(learning_rate=1e-9), _NET.changed(defects=(Defect(kind="saturated", module="0"),), loss="mse")),
)
