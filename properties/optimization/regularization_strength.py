"""Regularisation leaves room to learn: no penalty dominates the loss, and neither weight decay nor dropout prevents learning.

Conditions
----------
The subject has a loss and an optimiser.

Why it matters
--------------
A penalty on the weights that makes up most of the loss trains the weights towards zero, whatever the data say; a weight decay or a
dropout rate that is ten times too large does the same. The loss falls nicely all the while.

Measured
--------
The share of the initial loss that no output of the model can change, where the loss depends on the parameters directly (that is the
penalty). Where the set-up fails, also how much more of the best constant's loss a training without weight decay, and one without
dropout, explains.

Error
-----
None is claimed; a share above one half says that the loss speaks of the weights more than of the data.

When violated
-------------
Lower the penalty's factor, ``weight_decay`` or the dropout rate by a factor of ten and compare.

Limits
------
A candidate cause. The penalty's share is measured at the initial weights.

Sources
-------
Goodfellow, Bengio and Courville, Deep Learning, MIT Press 2016, sections 7.1 (norm penalties) and 7.12 (dropout); the counterfactuals are
run, not assumed.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

TRIALS = {"no weight decay": "weight decay", "no dropout": "dropout"}


def measure(training: Training) -> Iterator[Evidence]:
    share = training.direct
    note = "" if share <= 0.5 else (
        f"over-regularised: {share:.0%} of the initial loss is a penalty on the parameters that no output can change; lower its factor")
    yield Evidence(quantity="share of the initial loss that is a penalty on parameters", value=share, error=0.0, low=0.0, high=0.5,
                   where=Where(), note=note)
    for change, what in TRIALS.items():
        for trial in training.trial(change):
            gain = training.advantage(trial)
            told = "" if gain <= 0.5 else (
                f"over-regularised: without {what} the same set-up explains {trial.gain:.0%} of the best constant output's loss; lower the "
                f"{what}")
            yield Evidence(quantity=f"share of the best constant's loss that training without {what} explains more", value=gain, error=0.0,
                           low=float("-inf"), high=0.5, where=Where(), note=told, exhibits=(training.comparison(trial, f"without {what}"),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="mse", batch=16,
                    learning_rate=0.05)
_ADAM = _NET.changed(optimizer="adam", learning_rate=0.01)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("over-regularised", "weight penalty too large", "weight decay too large", "dropout too large"),
    holds_for=(_NET, _ADAM.changed(defects=(Defect(kind="penalised-loss", module="", strength=1e-5),))),
    fails_for=(_NET.changed(defects=(Defect(kind="penalised-loss", module="", strength=1.0),)),
               _ADAM.changed(optimizer="sgd", learning_rate=0.3, defects=(Defect(kind="weight-decay", module="", strength=3.0),))),
)
