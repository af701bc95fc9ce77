"""The learning rate of every group of the optimiser is divided by ten.

When it helps
-------------
Where steps overshoot: on a quadratic, gradient descent grows along every direction whose curvature exceeds 2 / rate, and shrinks along it
at a tenth of the rate.

When it does not
----------------
It cannot give a direction to a gradient that is zero, wrong or lost to rounding, and makes a training that is merely slow ten times slower.
The threshold 2 / rate is exact for quadratics and near a minimum; networks can train somewhat above it.

Sources
-------
Bengio 2012, Practical recommendations for gradient-based training of deep architectures, arXiv:1206.5533, section 3.1.1; Cohen et al.
2021, arXiv:2103.00065 (edge of stability).
"""

from gradcheck_suite.remedies._optimizers import changed, scaled_rate
from gradcheck_suite.subject import Setup


def lower_learning_rate(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there is no optimiser, or it has no learning rate.
    """
    return changed(setup, lambda optimizer: scaled_rate(optimizer, 0.1))
