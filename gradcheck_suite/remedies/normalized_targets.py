"""The targets are standardised: mean 0 and standard deviation 1, per column of a matrix and over all values of other tensors.

When it helps
-------------
A squared error's gradient grows with the targets, and an output layer that starts near zero must first travel to their mean: standardised
targets make an ordinary learning rate fit. Undo it on the predictions.

When it does not
----------------
Classes have no scale, and a loss that measures on a scale of its own (a likelihood with a learnt variance) does not need it.

Sources
-------
LeCun et al. 1998, Efficient BackProp, section 4.5.
"""

from dataclasses import replace

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._batches import Standardised, mapped
from gradcheck_suite.subject import Setup


def normalized_targets(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no floating target varies.
    """
    standardised = Standardised()
    targets = mapped(setup.batch.targets, standardised)
    if not standardised.count:
        raise NotApplicable("there are no floating targets that vary")
    return replace(setup, batch=replace(setup.batch, targets=targets))
