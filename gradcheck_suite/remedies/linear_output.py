"""The activation that ends the model is left out.

When it helps
-------------
Where targets lie outside the range of the last activation (a ReLU in front of negative values, a sigmoid in front of prices): no weights
can reach them, and at the edge of the range the gradient vanishes.

When it does not
----------------
Where the loss expects what the activation gives (probabilities for a cross-entropy without logits) the loss becomes undefined.

Sources
-------
Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2 (output units).
"""

from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._modules import ACTIVATIONS, last, replaced
from gradcheck_suite.subject import Setup


def linear_output(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: the module registered last is not an activation.
    """
    path, module = last(setup.model)
    if not isinstance(module, (*ACTIVATIONS, nn.Softmax, nn.LogSoftmax)):
        raise NotApplicable("the model does not end with an activation module")
    replaced(setup.model, path, nn.Identity())
    return setup
