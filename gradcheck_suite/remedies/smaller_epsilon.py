"""The epsilon of an adaptive optimiser is divided by a million.

When it helps
-------------
Where root mean squares of gradients lie below epsilon the optimiser divides by epsilon in place of them, and steps shrink with the
gradient; with an epsilon well below the gradients steps have the length of the learning rate again.

When it does not
----------------
Gradients that are small because they are noise are then followed at full length. In half precision an epsilon of 10⁻¹⁴ is zero; scale the
loss up instead.

Sources
-------
Kingma and Ba 2015, arXiv:1412.6980, section 2.1; Wortsman et al. 2023, arXiv:2309.14322 (an epsilon too large for small gradients).
"""

from typing import Final

from torch.optim import Optimizer

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._optimizers import changed
from gradcheck_suite.subject import Setup

FACTOR: Final = 1e-6


def smaller_epsilon(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: the optimiser has no epsilon.
    """
    return changed(setup, _smaller)


def _smaller(optimizer: Optimizer) -> Optimizer:
    for group in optimizer.param_groups:
        if not isinstance(group.get("eps"), float) or not group["eps"]:
            raise NotApplicable(f"{type(optimizer).__name__} has no epsilon")
        group["eps"] *= FACTOR
    return optimizer
