"""A smaller learning rate does not turn a set-up that fails into one that learns.

Conditions
----------
The set-up does not explain half of the best constant output's loss, and trainings with smaller learning rates could be run.

Why it matters
--------------
A step that is too long overshoots: the loss grows, units die or saturate within the first steps, or the weights oscillate. It is the
commonest reason for a loss of NaN, and a factor of ten cures it.

Measured
--------
The short training is run again from the same initial weights with the learning rate divided by 10, 100 and 1000. What counts is how
much more of the best constant's loss the best of them explains; where the set-up itself breaks off or ends above its first loss, also the
share of that first loss by which a smaller rate brings it down.

Error
-----
None is claimed for the difference of two runs from the same start; a cause must explain more than half.

When violated
-------------
Lower the learning rate by the factor named, or warm it up over the first steps.

Limits
------
A candidate cause: inputs that are too large, or an initialisation that explodes, may be behind it; they are reported beside it.

Sources
-------
Bengio, Practical recommendations for gradient-based training of deep architectures, 2012, section 3.1.1: the learning rate is the first
thing to change, by factors; the counterfactual is run, not assumed.
"""

from gradcheck_suite.captures.training import LEARNING_RATE, Attempt, Training
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def slower(training: Training) -> list[Attempt]:
    """The trials with smaller learning rates."""
    return [trial for trial in training.trial(LEARNING_RATE) if trial.factor < 1]


def doubtful(training: Training) -> str | None:
    """Some initialisation does not learn well, and smaller rates were tried from it."""
    if not training.trials and training.explains:
        return training.nothing_to_explain()
    unmet = "no smaller learning rate was tried: a larger one explains the failure, or none can"
    return None if slower(training) else training.untried(unmet)


def measure(training: Training) -> Evidence:
    best = max(slower(training), key=lambda trial: _share(training, trial))
    share = _share(training, best)
    rate = training.learning_rate
    note = "" if share <= 0.5 else (
        f"learning rate too high: with {rate * best.factor:.2g} in place of {rate:.2g} the loss ends at {best.reached:.4g}; "
        "lower the learning rate")
    return Evidence(quantity="share of the loss that a smaller learning rate explains more", value=share, error=0.0, low=float("-inf"),
                    high=0.5, where=Where(), note=note, exhibits=(training.comparison(best, f"learning rate × {best.factor:g}"),))


def _share(training: Training, trial: Attempt) -> float:
    own = training.own
    first = float(own.losses[0])
    if trial.finite and first > 0 and (not own.finite or own.reached > first):
        return max(training.advantage(trial), (first - trial.reached) / first)
    return training.advantage(trial)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=32), layer("relu"), layer("dense", units=3)), loss="mse", batch=16)
_DEEP = tuple(item for _ in range(8) for item in (layer("dense", units=6), layer("sigmoid")))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(doubtful,),
    symptoms=("learning rate too high", "overshoot"),
    remedies=("lower-learning-rate", "gradient-clipping"),
    holds_for=(_NET.changed(layers=(*_DEEP, layer("dense", units=3)), learning_rate=0.1),),
    fails_for=(_NET.changed(learning_rate=10.0), _NET.changed(learning_rate=3.0, optimizer="adam")),
)
