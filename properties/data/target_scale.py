"""Standardising the targets does not turn a set-up that fails into one that learns.

Conditions
----------
The set-up fails (it breaks off, or does not beat the best constant output), its targets are numbers, and a training with targets of mean
0 and standard deviation 1 could be run.

Why it matters
--------------
The gradient of a squared error grows with the targets: house prices in place of standardised prices make a learning rate diverge, or leave
an output layer that starts near zero hundreds of steps away from the mean.

Measured
--------
The short training is run again, from the same initial weights, on standardised targets, and judged by the best constant output for those.
What counts is how much more of the best constant's loss it explains.

Error
-----
None is claimed for the difference of two runs from the same start; a cause must explain more than half of the best constant's loss.

When violated
-------------
Standardise the targets and undo it on the predictions, or start the last bias at the targets' mean.

Limits
------
A candidate cause, not a proof: another learning rate may do the same.

Sources
-------
LeCun et al., Efficient BackProp, 1998, sections 4.3 and 4.5; the counterfactual is run, not assumed.
"""

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

CHANGE = "standardised targets"


def failing(training: Training) -> str | None:
    """There is a failure to explain, and the trial was run."""
    unmet = training.nothing_to_explain()
    if unmet is None and not training.trial(CHANGE):
        return training.untried("all numeric targets have mean 0 and deviation 1 already, or there are none that vary")
    return unmet


def measure(training: Training) -> Evidence:
    trial = training.trial(CHANGE)[0]
    gain = training.advantage(trial)
    note = ""
    if gain > 0.5:
        note = (f"unnormalised targets: on standardised targets the same set-up explains {trial.gain:.0%} of the best constant output's "
                "loss; standardise (normalise) the targets")
    return Evidence(quantity="share of the best constant's loss that standardised targets explain more", value=gain, error=0.0,
                    low=float("-inf"), high=0.5, where=Where(), note=note,
                    exhibits=(training.comparison(trial, "with standardised targets"),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=32), layer("tanh"), layer("dense", units=2)), loss="mse", batch=16,
                    learning_rate=0.3)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing,),
    symptoms=("unnormalised targets", "targets not standardised", "target scale"),
    remedies=("normalized-targets", "adam-optimizer"),
    holds_for=(_NET.changed(learning_rate=1e-7, defects=(Defect(kind="scaled-targets", module="", strength=4.0),)),),
    fails_for=(_NET.changed(loss="smooth-l1", learning_rate=0.1, defects=(Defect(kind="scaled-targets", module="", strength=1e4),)),),
)
