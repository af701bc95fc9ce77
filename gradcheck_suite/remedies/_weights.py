"""Weights drawn again."""

from collections.abc import Callable

import torch

from gradcheck_suite.architectures.initializations import initialize
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.subject import Setup


def redrawn(setup: Setup, draw: Callable[[torch.Tensor], None]) -> Setup:
    """Every weight of dense, convolutional, recurrent and attention layers drawn by ``draw``, their biases zero; frozen ones stay.

    Raises:
        NotApplicable: there is no such weight that is trained.
    """
    model = setup.model
    frozen = [(parameter, parameter.detach().clone()) for parameter in model.parameters() if not parameter.requires_grad]
    before = [(parameter, parameter._version) for parameter in model.parameters() if parameter.requires_grad and parameter.dim() > 1]
    initialize(model, draw)
    with torch.no_grad():
        for parameter, values in frozen:
            parameter.copy_(values)
    if not any(parameter._version > version for parameter, version in before):
        raise NotApplicable("the model has no dense, convolutional, recurrent or attention layer whose weights are trained")
    return setup
