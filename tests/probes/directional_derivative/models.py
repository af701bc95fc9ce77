"""Small models for these tests, and one way to ask the probe about them."""

import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.directional_derivative import directional_derivative
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.generators import Generators
from gradcheck_suite.probes.directional_derivative.record import Call, Recorder, module_paths
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.subject import Batch, Setup, Subject

DOUBLE = torch.float64


class Formula(nn.Module):
    """A forward pass given as a function of the module and its inputs, over named modules and parameters."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


class Scaled(torch.autograd.Function):
    """The sine, with a gradient that is ``factor`` times the right one."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.sin(x)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient * torch.cos(ctx.saved_tensors[0]), None


def sine(factor=1.0):
    """A module around ``Scaled``."""
    return Formula(lambda _, x: Scaled.apply(x, factor))


def subject(make, *inputs, loss=None, targets=None, **facts):
    """A subject built afresh from a seed; ``facts``: ``kwargs``, ``intended``, ``fresh``."""
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch(inputs, facts.get("kwargs", {}), targets), loss, intended=facts.get("intended", {}))

    return Subject("model", setup, fresh=facts.get("fresh", True))


def captured(made, seed=0):
    """What the probe sees, through the codec."""
    return decode(encode(directional_derivative(made, BUDGETS["quick"], seed)))


def blamed(capture):
    """Module paths that a disagreement is laid on."""
    return [place.module for place in capture.places if place.blamed]


def statuses(capture):
    """All statuses that occur."""
    return {place.status for place in capture.places}


def recorded(model, *inputs):
    """The recorded calls of one forward pass, and what replaying them needs."""
    resets = Resets(model)
    recorder = Recorder(module_paths(model))
    with torch.enable_grad():
        recorder.run(lambda: model(*inputs))
    resets.observe()
    resets.restore()
    return recorder.calls, Surroundings(Draws(1), resets, Generators([]))


def call_of(calls, path) -> Call:
    """The first call of that path."""
    return next(call for call in calls if call.path == path)
