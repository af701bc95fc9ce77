"""Every activation with the layer behind it that keeps the shape becomes a branch: x + f(x) / sqrt(L), L being the number of branches.

When it helps
-------------
In the mean over the weights the squared gradient along such a path is at least that behind it, whatever the scale of the branches: a skip
cannot vanish. With the factor 1 / sqrt(L) and branches that keep the scale the growth over all L is at most e.

When it does not
----------------
Branches that explode by themselves still explode. Without the factor the squared signal and gradient double at every branch. Layers that
change the width have no skip and go on as they were.

Sources
-------
He et al. 2016, Identity mappings in deep residual networks, arXiv:1603.05027; Hanin and Rolnick 2018, arXiv:1803.01719 (the
sum of the branches' scales); Zhang, Dauphin and Ma 2019, arXiv:1901.09321.
"""

import math

import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._modules import fed, keeps_shape, replaced
from gradcheck_suite.subject import Setup


class Residual(nn.Module):
    """``x + scale * branch(x)``."""

    def __init__(self, branch: nn.Module, scale: float) -> None:
        super().__init__()
        self.branch, self.scale = branch, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The skip and the branch."""
        result: torch.Tensor = x + self.scale * self.branch(x)
        return result


def residual_connections(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no activation module has a layer behind it that keeps the shape.
    """
    blocks = [block for block in fed(setup.model) if keeps_shape(block[-1][1])]
    if not blocks:
        raise NotApplicable("no activation module has a dense or convolutional layer behind it that keeps the shape, in a sequence")
    for block in blocks:
        *before, (path, _) = block
        replaced(setup.model, path, Residual(nn.Sequential(*(module for _, module in block)), 1.0 / math.sqrt(len(blocks))))
        for place, _ in before:
            replaced(setup.model, place, nn.Identity())
    return setup
