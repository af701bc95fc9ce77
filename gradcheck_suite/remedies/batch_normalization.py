"""Batch normalisation is put in front of every activation module that stands behind a dense or convolutional layer.

When it helps
-------------
Output and gradient no longer depend on the scale of the weights in front of it (to the epsilon), and every unit is active for about half
of the batch: a wrong scale of the weights, saturated and dead units are cured, and higher learning rates are stable.

When it does not
----------------
It does not keep the gradient's scale in a deep plain network: the squared gradient grows per layer by the mean squared slope over the
activation's variance, which is above 1 for every activation that is not linear, π/(π-1) = 1.47 for ReLU in large batches and 1.6 in
batches of 16. A gradient that vanished then explodes. With residual connections it does not, for there it scales the branches down. The
gradient of a sample depends on the other samples, and a batch of one cannot be trained on.

Sources
-------
Ioffe and Szegedy 2015, arXiv:1502.03167, section 3; Yang et al. 2019, A mean field theory of batch normalization, arXiv:1902.08129;
De and Smith 2020, arXiv:2002.10444 (residual networks).
"""

import torch
from torch import nn

from gradcheck_suite.remedies._modules import activated, like, replaced, width
from gradcheck_suite.subject import Setup


class FeatureBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of features on the last axis, whatever axes are before it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise over all axes but the last."""
        return super().forward(input.reshape(-1, input.shape[-1])).reshape(input.shape)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: FeatureBatchNorm, nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d,
}


def batch_normalization(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no layer with weights has an activation module right behind it.
    """
    for (_, layer), (path, activation) in activated(setup.model):
        kind = next(norm for base, norm in _KINDS.items() if isinstance(layer, base))
        replaced(setup.model, path, nn.Sequential(like(kind(width(layer)), layer), activation))
    return setup
