"""A larger learning rate does not turn a set-up that fails into one that learns.

Conditions
----------
The set-up does not explain half of the best constant output's loss although its training stays finite, and trainings with larger
learning rates could be run.

Why it matters
--------------
A step that is too short leaves the loss where it was: a rate copied from another optimiser, a schedule that starts at zero, a loss that
is averaged over too much. The curve looks like one that has converged.

Measured
--------
The short training is run again from the same initial weights with learning rates 10 to 10^6 times larger, starting with the power of ten
by which the loss's fall so far would have to grow. What counts is how much more of the best constant's loss the best of them explains.

Error
-----
None is claimed for the difference of two runs from the same start; a cause must explain more than half. Where the owner trains for longer
than the probe, the error is what the set-up is expected to gain until then, and half of the range over the initialisations.

When violated
-------------
Raise the learning rate by the factor named.

Limits
------
A candidate cause: gradients that vanish, or updates lost to rounding, may be behind it; they are reported beside it.

Sources
-------
Bengio, Practical recommendations for gradient-based training of deep architectures, 2012, section 3.1.1; the counterfactual is run, not
assumed.
"""

from gradcheck_suite.captures.training import LEARNING_RATE, Attempt, Training
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def faster(training: Training) -> list[Attempt]:
    """The trials with larger learning rates."""
    return [trial for trial in training.trial(LEARNING_RATE) if trial.factor > 1]


def doubtful(training: Training) -> str | None:
    """Some initialisation does not learn well, and larger rates were tried from it."""
    if not training.trials and not training.failing:
        return training.nothing_to_explain()
    unmet = "no larger learning rate was tried: the training breaks off, or a smaller one explains the failure"
    return None if faster(training) else training.untried(unmet)


def measure(training: Training) -> Evidence:
    best = max(faster(training), key=training.advantage)
    share = training.advantage(best)
    further = training.outlook - training.gain
    gains = [attempt.gain for attempt in training.attempts]
    error = 0.0 if training.failing else max(further, 0.0) + (max(gains) - min(gains)) / 2.0
    rate = training.learning_rate
    note = "" if not share - error > 0.5 else (  # NaN: how it would have gone on is not known
        f"learning rate too low: with {rate * best.factor:.2g} in place of {rate:.2g} the same set-up explains {best.gain:.0%} of the best "
        "constant output's loss; raise the learning rate")
    return Evidence(quantity="share of the best constant's loss that a larger learning rate explains more", value=share, error=error,
                    low=float("-inf"), high=0.5, where=Where(), note=note,
                    exhibits=(training.comparison(best, f"learning rate × {best.factor:g}"),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=32), layer("relu"), layer("dense", units=3)), loss="mse", batch=16,
                    learning_rate=1e-5)
_DEEP = tuple(item for _ in range(8) for item in (layer("dense", units=6), layer("sigmoid")))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(doubtful,),
    symptoms=("learning rate too low", "training too slow"),
    remedies=("higher-learning-rate", "momentum", "adam-optimizer"),
    holds_for=(_NET.changed(layers=(*_DEEP, layer("dense", units=3)), learning_rate=0.1),),
    fails_for=(_NET, _NET.changed(learning_rate=1e-6, optimizer="adam", loss="cross-entropy")),
)
