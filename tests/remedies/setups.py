"""Set-ups to change, and what is seen of them."""

import torch
from torch import nn

from gradcheck_suite.subject import Batch, Setup, Subject


def stack(activation=nn.ReLU, depth=4, width=16):
    """Dense layers with an activation behind every one but the last."""
    layers = [module for _ in range(depth) for module in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def setup(model=None, inputs=None, targets=None, **facts):
    """A set-up with a model, inputs and targets of its own where none are given."""
    model = stack() if model is None else model
    inputs = torch.randn(8, 16) if inputs is None else inputs
    known = {"loss": nn.functional.mse_loss, "optimizer": sgd} | facts
    return Setup(model, Batch((inputs,), {}, torch.randn(8, 3) if targets is None else targets), **known)


def sgd(parameters):
    """Plain gradient descent with the rate 0.1."""
    return torch.optim.SGD(parameters, lr=0.1)


def subject(build, **facts):
    """A subject whose ``setup`` seeds torch and calls ``build``."""

    def made(seed):
        torch.manual_seed(seed)
        return build()

    return Subject("subject", made, **facts)


def optimizer_of(changed):
    """The optimiser of a changed set-up over its model's parameters."""
    return changed.optimizer(list(changed.model.parameters()))


def group_of(changed):
    """The first group of that optimiser."""
    return optimizer_of(changed).param_groups[0]


def gradient_factors(model, inputs, places):
    """Norms of the gradient of a random contraction at the outputs of the modules at these places."""
    norms = {}

    def watch(place):
        def hook(_module, _inputs, output):
            output.register_hook(lambda gradient: norms.__setitem__(place, float(gradient.norm())))

        return model.get_submodule(place).register_forward_hook(hook)

    handles = [watch(place) for place in places]
    output = model(inputs)
    (output * torch.randn(output.shape, dtype=output.dtype)).sum().backward()
    for handle in handles:
        handle.remove()
    return [norms[place] for place in places]
