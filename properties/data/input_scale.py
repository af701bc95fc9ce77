"""Standardising the inputs does not turn a set-up that fails into one that learns.

Conditions
----------
The set-up fails (it breaks off, or does not beat the best constant output), its inputs are numbers, and a training with inputs of mean 0
and standard deviation 1 could be run.

Why it matters
--------------
The curvature of the loss grows with the square of the inputs: pixels from 0 to 255 in place of 0 to 1 make it 65 000 times larger, and a
learning rate that was fine diverges, kills units or saturates them.

Measured
--------
The short training is run again, from the same initial weights, on standardised inputs (per column of a matrix, over all values of other
tensors). What counts is how much more of the best constant's loss it explains.

Error
-----
None is claimed for the difference of two runs from the same start; a cause must explain more than half of the best constant's loss.

When violated
-------------
Standardise the inputs: subtract the training set's mean and divide by its standard deviation, or divide pixels by 255.

Limits
------
A candidate cause, not a proof: a smaller learning rate may do the same (``learning-rate-stability``).

Sources
-------
LeCun et al., Efficient BackProp, 1998, section 4.3 (normalising the inputs); the counterfactual is run, not assumed.
"""

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Curve
from gradcheck_suite.core.property import Property

CHANGE = "standardised inputs"


def failing(training: Training) -> str | None:
    """There is a failure to explain, and the trial was run."""
    unmet = training.nothing_to_explain()
    if unmet is None and not training.trial(CHANGE):
        return training.untried("all numeric inputs have mean 0 and deviation 1 already, or there are none that vary")
    return unmet


def measure(training: Training) -> Evidence:
    trial = training.trial(CHANGE)[0]
    gain = training.advantage(trial)
    note = ""
    if gain > 0.5:
        note = (f"unnormalised inputs: on standardised inputs the same set-up explains {trial.gain:.0%} of the best constant output's "
                "loss; standardise (normalise) the inputs")
    curve: tuple[Curve, ...] = (training.comparison(trial, "with standardised inputs"),)
    return Evidence(quantity="share of the best constant's loss that standardised inputs explain more", value=gain, error=0.0,
                    low=float("-inf"), high=0.5, where=Where(), note=note, exhibits=curve)


def _scaled(strength: float) -> Defect:
    return Defect(kind="scaled-inputs", module="", strength=strength)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="cross-entropy",
                    batch=16, optimizer="sgd", learning_rate=0.3)
_DEEP = tuple(item for _ in range(10) for item in (layer("dense", units=6), layer("sigmoid")))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing,),
    symptoms=("unnormalised inputs", "inputs not standardised", "input scale"),
    remedies=("normalized-inputs", "lower-learning-rate", "batch-normalization"),
    holds_for=(_NET.changed(layers=(layer("dense", units=6), *_DEEP, layer("dense", units=3)), defects=(_scaled(4.0),)),),
    fails_for=(_NET.changed(defects=(_scaled(1e3),)),),
)
