"""Leniency: flags set on computed tensors, and forward passes that differentiate, stop no experiment."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes import probe
from gradcheck_suite.probes.leniency import lenient
from tests.probes.small import regression, subject


class Flagged(nn.Module):
    """Asks its input, or what it made of it, to require a gradient."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 2)

    def forward(self, x):
        hidden = x[:, None]
        hidden.requires_grad = True
        return self.map(hidden.requires_grad_())[:, 0]


class Field(nn.Module):
    """Energy and force: differentiates in its forward pass."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        place = x.detach().requires_grad_()
        energy = self.energy(place)
        (force,) = torch.autograd.grad(energy.sum(), place, create_graph=True)
        return torch.cat([energy, force[:, :1]], 1)


class Refuses(nn.Module):
    """Fails for a reason of its own."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 2)

    def forward(self, x):
        raise RuntimeError("no")


@pytest.mark.parametrize("make", [Flagged, Field])
@pytest.mark.parametrize("name", ["cotangent_algebra", "batch_algebra", "batch_composition", "checkpointed_pass", "backward_pass"])
def test_probes_run(make, name):
    assert probe(name)(subject(make, regression()), BUDGETS["quick"], 0) is not None


def test_other_failures_stay():
    with pytest.raises(SubjectError, match="no"):
        probe("cotangent_algebra")(subject(Refuses, regression()), BUDGETS["quick"], 0)


def test_outputs_are_detached_where_nothing_was_recorded():
    x = torch.ones(3, 4)
    with lenient(), torch.no_grad():
        assert not Field()(x).requires_grad
    with lenient():
        assert Field()(x).requires_grad


def test_a_checkpoint_may_run_the_module_again():
    model, x = Flagged(), torch.ones(3, 4, requires_grad=True)
    with lenient():
        checkpoint(model, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, model.map.weight.sum(0).expand(3, 4))


def test_nothing_is_left_behind():
    usual = nn.Module.__call__
    with lenient():
        assert nn.Module.__call__ is not usual
    assert nn.Module.__call__ is usual
    with pytest.raises(RuntimeError, match="leaf"):
        Flagged()(torch.ones(3, 4, requires_grad=True) * 1)
