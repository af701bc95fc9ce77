"""The optimiser is replaced by Adam with its default settings (rate 0.001), over the same parameters.

When it helps
-------------
Where gradients of different layers differ by powers of ten: every entry moves by about the learning rate per step, whatever the scale of
its gradient, so that layers whose gradient is a thousand times smaller still learn, and the scale of the loss no longer matters.

When it does not
----------------
A gradient below Adam's epsilon of 10⁻⁸, or one that is zero or mostly noise, gains nothing. A gradient of the wrong sign is followed as
faithfully as ever.

Sources
-------
Kingma and Ba 2015, arXiv:1412.6980, section 2.1.
"""

from torch.optim import Adam, AdamW, Optimizer

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._optimizers import changed
from gradcheck_suite.subject import Setup


def adam_optimizer(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there is no optimiser, or it is Adam.
    """
    return changed(setup, _adam)


def _adam(optimizer: Optimizer) -> Optimizer:
    if isinstance(optimizer, Adam | AdamW):
        raise NotApplicable(f"the optimiser is {type(optimizer).__name__} already")
    return Adam([{"params": list(group["params"])} for group in optimizer.param_groups])
