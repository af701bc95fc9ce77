"""The learning rate of every group of the optimiser is multiplied by ten.

When it helps
-------------
Where the loss falls steadily but hardly moves within the steps there are, or where steps are so small that rounding swallows them.

When it does not
----------------
Where the gradient itself is what vanishes it moves the last layers ten times faster and the first ones hardly more. Above the curvature's
threshold of 2 / rate it diverges.

Sources
-------
Bengio 2012, arXiv:1206.5533, section 3.1.1; Micikevicius et al. 2018, arXiv:1710.03740, section 3.1 (updates lost to rounding).
"""

from gradcheck_suite.remedies._optimizers import changed, scaled_rate
from gradcheck_suite.subject import Setup


def higher_learning_rate(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there is no optimiser, or it has no learning rate.
    """
    return changed(setup, lambda optimizer: scaled_rate(optimizer, 10.0))
