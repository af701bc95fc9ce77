"""Gradient descent gets a momentum of 0.9 at the learning rate it has.

When it helps
-------------
Where the loss has long flat valleys with steep walls: steps along the valley add up to ten times their length, and on a quadratic the
number of steps grows with the square root of the condition number in place of the number itself. The threshold of stability rises from
2 / rate to 3.8 / rate.

When it does not
----------------
It is no cure for gradients that vanish or explode with depth: it adds up what arrives. In the long run it acts like a learning rate ten
times larger, and a loss that falls need not fall at every step.

Sources
-------
Polyak 1964, Some methods of speeding up the convergence of iteration methods; Sutskever et al. 2013, On the importance of initialization
and momentum in deep learning.
"""

from typing import Final

from torch.optim import SGD, Optimizer

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._optimizers import changed
from gradcheck_suite.subject import Setup

MOMENTUM: Final = 0.9


def momentum(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: the optimiser is not plain gradient descent.
    """
    return changed(setup, _with_momentum)


def _with_momentum(optimizer: Optimizer) -> Optimizer:
    if not isinstance(optimizer, SGD) or any(group["momentum"] for group in optimizer.param_groups):
        raise NotApplicable(f"the optimiser {type(optimizer).__name__} is not gradient descent without momentum")
    for group in optimizer.param_groups:
        group["momentum"] = MOMENTUM
    return optimizer
