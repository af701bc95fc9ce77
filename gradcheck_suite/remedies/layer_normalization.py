"""Layer normalisation is put in front of every activation module that stands behind a dense or convolutional layer.

When it helps
-------------
Signal and gradient no longer depend on the scale of the weights in front of it. In a plain network of ReLUs the squared gradient then keeps
its scale at any depth and any scale of the weights, in batches of any size, which batch normalisation does not achieve.

When it does not
----------------
The factor per layer is the mean squared slope over the mean square of the activation: 1 for ReLU, 1.07 for GELU, 1.18 for tanh, which
explodes slowly, and 0.15 for sigmoid, which vanishes all the same.

Sources
-------
Ba, Kiros and Hinton 2016, arXiv:1607.06450, section 5.1; Wu and He 2018, arXiv:1803.08494 (one group, for convolutions).
"""

from torch import nn

from gradcheck_suite.remedies._modules import activated, like, replaced, width
from gradcheck_suite.subject import Setup


def layer_normalization(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no layer with weights has an activation module right behind it.
    """
    for (_, layer), (path, activation) in activated(setup.model):
        norm = nn.LayerNorm(width(layer)) if isinstance(layer, nn.Linear) else nn.GroupNorm(1, width(layer))
        replaced(setup.model, path, nn.Sequential(like(norm, layer), activation))
    return setup
