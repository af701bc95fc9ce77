"""Sigmoids, tanhs and other activations that are flat on both sides become ReLUs, with He's weights in front of them.

When it helps
-------------
A sigmoid's slope is at most 1/4, so that a stack of sigmoids loses at least a factor of 16 of the squared gradient per layer at unit
weights; a ReLU has slope 1 wherever it passes anything, and with weights of variance 2 / fan-in keeps the scale at every depth.

When it does not
----------------
The slope alone is not enough: with PyTorch's default weights a deep stack of ReLUs vanishes too, which is why the weights are drawn again.
Where an activation bounds what the model needs bounded (gates, probabilities at the output) it must stay; sigmoids at the end of a
sequence and the model's last module are left alone.

Sources
-------
Glorot, Bordes and Bengio 2011, Deep sparse rectifier neural networks; He et al. 2015, arXiv:1502.01852, section 2.2.
"""

from torch import nn

from gradcheck_suite.architectures.initializations import he_normal
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._modules import ends_of_rows, last, places, replaced, saturates
from gradcheck_suite.remedies._weights import redrawn
from gradcheck_suite.subject import Setup


def relu_activation(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: there is no such activation module, or there are no weights to draw.
    """
    model = setup.model
    ends, (final, _) = ends_of_rows(model), last(model)
    gates = {path for path, module in places(model) if path in ends and isinstance(module, nn.Sigmoid | nn.Hardsigmoid)}
    found = [path for path, module in places(model) if saturates(module) and path not in gates and path != final]
    if not found:
        raise NotApplicable("the model has no hidden activation module that is flat on both sides")
    for path in found:
        replaced(model, path, nn.ReLU())
    return redrawn(setup, he_normal)
