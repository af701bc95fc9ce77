import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.configuration_sweep import configuration_sweep

from .specimens import Layer, off, subject


class Container(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)))


class Detached(Container):
    def forward(self, x):
        x = self.inner(x)
        return self.head(x.detach() if x.shape[0] == 1 else x)


def wrong(made):
    found = configuration_sweep(made, BUDGETS["standard"], 0)
    return {one.place.module for module in found.modules for one in module.wrong}


def test_a_wrong_layer_inside_a_container_is_blamed_alone():
    assert wrong(subject(nn.Linear(3, 3), Container(Layer(off(lambda ctx, g, x: x.shape[0] == 1))))) == {"1.inner"}


def test_a_containers_own_code_is_blamed_on_the_container():
    assert wrong(subject(nn.Linear(3, 3), Detached(nn.Linear(3, 3)))) == {"1"}


def test_a_container_that_only_passes_on_is_not_accused():
    assert wrong(subject(nn.Linear(3, 3), Container(Layer()))) == set()
