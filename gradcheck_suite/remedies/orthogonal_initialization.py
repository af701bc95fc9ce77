"""Weights are drawn again as orthogonal matrices with gain 1, each gate of a recurrent layer by itself, biases are set to zero.

When it helps
-------------
In linear and tanh networks, and for the recurrent matrix of an RNN: an orthogonal matrix keeps the norm of every vector, so that nothing
but the activations can make a gradient vanish or explode, at any depth.

When it does not
----------------
Behind rectifiers half of the squared gradient is lost per layer unless the gain is the square root of two; sigmoids vanish all the same.
In an RNN with tanh the gradient still decays with time wherever units saturate.

Sources
-------
Saxe, McClelland and Ganguli 2014, arXiv:1312.6120; Pennington, Schoenholz and Ganguli 2017, arXiv:1711.04735; Le, Jaitly and Hinton
2015, arXiv:1504.00941.
"""

from gradcheck_suite.architectures.initializations import orthogonal
from gradcheck_suite.remedies._weights import redrawn
from gradcheck_suite.subject import Setup


def orthogonal_initialization(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there are no weights to draw.
    """
    return redrawn(setup, orthogonal)
