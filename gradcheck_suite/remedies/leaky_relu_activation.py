"""ReLUs become leaky ReLUs of slope 0.2 on the negative side, with the weights they have.

When it helps
-------------
A unit that is negative on every sample passes no gradient through a ReLU and can never come back; a slope lets a fifth through, so that the
unit moves again.

When it does not
----------------
It does not change why the units died: a learning rate that is too high or a large negative bias kills the signal's variety all the same.
Critical weights get a factor of 1.04 per layer too large (their variance should be 2 / (1.04 fan-in)), 0.5 decades over thirty layers.

Sources
-------
Maas, Hannun and Ng 2013, Rectifier nonlinearities improve neural network acoustic models; Radford, Metz and Chintala 2016,
arXiv:1511.06434, section 4 (slope 0.2).
"""

from typing import Final

from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._modules import last, places, replaced
from gradcheck_suite.subject import Setup

SLOPE: Final = 0.2


def leaky_relu_activation(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: the model has no ReLU module before its last module.
    """
    final, _ = last(setup.model)
    found = [path for path, module in places(setup.model) if isinstance(module, nn.ReLU) and path != final]
    if not found:
        raise NotApplicable("the model has no hidden ReLU module")
    for path in found:
        replaced(setup.model, path, nn.LeakyReLU(SLOPE))
    return setup
