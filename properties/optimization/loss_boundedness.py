"""The loss is a measure of error: no constant output drives it lower and lower, and targets as outputs are not the worst outputs.

Conditions
----------
The subject has a loss, targets and an optimiser, and its outputs have an axis of samples.

Why it matters
--------------
A loss that an output can push below every bound is not a measure of error: a cross-entropy or squared error with the wrong sign, a
negative log-likelihood that was given raw scores in place of log-probabilities. Training never ends, and its curve looks wonderful. So it
does where a similarity that should rise (a cosine, a correlation) is minimised.

Measured
--------
Whether the loss keeps falling, by as much with each factor of ten or more, along the direction in which a constant output minimises it.
The output stays within the range of the model's last activation. Where outputs and targets are numbers of one shape, also whether outputs
equal to the targets have a higher loss than outputs a tenth of the targets' deviation to either side, in each of three random directions.

Error
-----
None: whether it falls is read off at 10² to 10⁵ times the output found. A loss that is convex in the outputs never has its crest at the
targets, whatever the outputs mean.

When violated
-------------
Look at the sign of the loss; give ``nll_loss`` the result of ``log_softmax``, or use ``cross_entropy`` on raw scores.

Limits
------
Objectives that are meant to be unbounded (the critic of a Wasserstein GAN) are violated by design: an indicator. Log-probabilities
weighted with both signs (policy gradients), for which the negative of the loss is unbounded too, hold; so do losses without targets, where
the outputs may be an objective that the model computes.

Sources
-------
A loss needs an infimum for its minimisation to have a meaning; Goodfellow, Bengio and Courville, Deep Learning, 2016, section 6.2.1.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.target_pairing import TargetPairing
from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def sampled(training: Training) -> str | None:
    """The outputs have an axis of samples."""
    return None if training.samples > 1 else "the outputs have no common axis of samples"


def measure(training: Training, target_pairing: TargetPairing) -> Iterator[Evidence]:
    note = "" if not training.unbounded else (
        "the loss is unbounded below: a constant output drives it lower and lower, so that its minimisation means nothing (gradient "
        "ascent on an error: the wrong sign; or raw scores where log-probabilities are expected)")
    yield Evidence(quantity="directions in which a constant output lowers the loss without end", value=float(training.unbounded),
                   error=0.0, low=0.0, high=0.0, where=Where(), note=note)
    if target_pairing.crest:
        yield Evidence(
            quantity="crests of the loss at outputs equal to the targets", value=1.0, error=0.0, low=0.0, high=0.0, where=Where(),
            note="outputs equal to the targets have a higher loss than those beside them: a similarity is minimised (the wrong sign, "
                 "gradient ascent on the error; then minimise 1 - similarity, or its negative), or the targets are to be kept away from")


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(sampled,),
    symptoms=("loss unbounded below", "wrong sign of the loss", "loss goes to minus infinity"),
    holds_for=(_NET, _NET.changed(loss="cross-entropy"), _NET.changed(loss="bce")),
    fails_for=(_NET.changed(defects=(Defect(kind="scaled-loss", module="", strength=-1.0),)),),
)
