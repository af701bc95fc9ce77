"""Before every step the gradients of all parameters together are scaled down to a norm of at most 1.

When it helps
-------------
Where single gradients are huge: at cliffs of the loss of a recurrent network, after a rare sample. The step keeps its direction and gets
a bounded length.

When it does not
----------------
It does not stop a gradient from exploding on its way through the layers, and where every gradient is clipped it is a learning rate in
disguise. A gradient that is not finite stays so. Adam and other methods that normalise the gradient themselves hardly notice it. The
threshold of 1 is a convention; the right one is the size of an ordinary gradient.

Sources
-------
Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063, section 3.2; Zhang et al.
2020, arXiv:1905.11881.
"""

from typing import Any, Final

from torch import nn
from torch.optim import LBFGS, Optimizer

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._optimizers import changed
from gradcheck_suite.subject import Setup

NORM: Final = 1.0


def gradient_clipping(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there is no optimiser, or its gradients are made within its step.
    """
    return changed(setup, _clipping)


def _clipping(optimizer: Optimizer) -> Optimizer:
    if isinstance(optimizer, LBFGS):
        raise NotApplicable("LBFGS makes its gradients within the step: they cannot be clipped before it")
    optimizer.register_step_pre_hook(_clip)
    return optimizer


def _clip(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> None:
    nn.utils.clip_grad_norm_([parameter for group in optimizer.param_groups for parameter in group["params"]], NORM)
