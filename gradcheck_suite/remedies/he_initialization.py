"""Weights are drawn again with variance 2 / fan-in, biases are set to zero.

When it helps
-------------
Where a rectifier stands behind every layer: it halves the mean square, the factor 2 makes up for it, and signal and gradient keep their
scale at every depth, exactly so in the mean. PyTorch's own default has a variance of 1 / (3 fan-in), under which a stack of ReLU layers
loses a factor of 6 of the squared gradient per layer.

When it does not
----------------
In front of other activations the factor is wrong: sigmoids still lose a factor of ten or more of the squared gradient per layer, tanh and
the identity explode slowly, GELU and SiLU vanish slowly. It repairs a wrong scale of the weights, not dead units or a wrong learning rate.

Sources
-------
He et al. 2015, arXiv:1502.01852, section 2.2; Hanin and Rolnick 2018, arXiv:1803.01719.
"""

from gradcheck_suite.architectures.initializations import he_normal
from gradcheck_suite.remedies._weights import redrawn
from gradcheck_suite.subject import Setup


def he_initialization(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there are no weights to draw.
    """
    return redrawn(setup, he_normal)
