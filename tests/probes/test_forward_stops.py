"""Stops in forward mode: the products agree where gradients are stopped, and still tell a wrong formula beside a stop."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.adjoint_products import adjoint_products
from gradcheck_suite.probes.forward_stops import TangentsStopped
from gradcheck_suite.subject import Batch, Setup, Subject


def seen(make, *inputs, intended=None):
    """What the probe sees of a model, and by how much its two sides differ, relatively."""
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch(inputs or (torch.randn(6, 3),)), intended=intended or {})

    capture = adjoint_products(Subject("model", setup), BUDGETS["quick"], 3)
    return abs(capture.forward - capture.backward) / capture.scale


class Stopping(nn.Module):
    """Two layers and a factor that is computed from the first; ``how`` gives it."""

    def __init__(self, how):
        super().__init__()
        self.body, self.head, self.how = nn.Linear(3, 4), nn.Linear(4, 2), how

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.head(self.how(self, h) * h)


class Skewed(torch.autograd.Function):
    """The sine, right in forward mode and 1 % off in the backward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, gradient):
        return 1.01 * gradient * torch.cos(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx, tangent):
        return torch.cos(ctx.saved_tensors[0]) * tangent


def computed(m, h):
    with torch.no_grad():
        return 1 / (1 + h.abs().amax())


@torch.no_grad()
def decorated(m, h):
    with torch.no_grad():
        inner = h.square().sum()
    return inner + torch.exp(h.mean())


def viewed(m, h):
    with torch.no_grad():
        return h.t().mT[:1]


def parted(m, h):
    with torch.no_grad():
        first, second = h.chunk(2)
    return torch.cat([second, first])


def resumed(m, h):
    with torch.no_grad():
        with torch.enable_grad():
            factor = torch.sigmoid(h)
        rest = h.square()
    return factor + rest


def switched(m, h):
    torch.set_grad_enabled(False)
    factor = h.square()
    torch.set_grad_enabled(True)
    return factor + torch.cos(h)


def written(m, h):
    kept = h * 1
    with torch.no_grad():
        kept.mul_(0.5)
        kept[0].add_(1)
    return kept


@pytest.mark.parametrize("how", [computed, decorated, viewed, parted, resumed, switched, written, lambda m, h: h.detach()])
def test_both_modes_honour_a_stop(how):
    assert seen(lambda: Stopping(how)) < 1e-13


@pytest.mark.parametrize("how", [computed, viewed, resumed])
def test_a_wrong_formula_beside_a_stop_is_seen(how):
    assert seen(lambda: Stopping(lambda m, h: how(m, h) * Skewed.apply(h))) > 1e-5


class Averaged(nn.Module):
    """A target network that is an average of the trained one, brought up to date in the forward pass."""

    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        self.target, self.predict = copy.deepcopy(self.online).requires_grad_(False), nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            for own, other in zip(self.target.parameters(), self.online.parameters(), strict=True):
                own.lerp_(other, 0.1)
            target = self.target(x.flip(1))
        return 1 - functional.cosine_similarity(self.predict(self.online(x)), target).mean()


def test_a_target_network_is_no_difference():
    assert seen(Averaged) < 1e-13


class Adversarial(nn.Module):
    """Both losses in one pass, the discriminator frozen for the generator's."""

    def __init__(self, freeze):
        super().__init__()
        self.generate, self.judge, self.freeze = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), freeze

    def forward(self, x):
        fake = self.generate(x)
        loss = functional.softplus(self.judge(fake.detach())).mean()
        self.freeze(self.judge, False)
        loss = loss + functional.softplus(-self.judge(fake)).mean()
        self.freeze(self.judge, True)
        return loss


def one_by_one(module, value):
    for parameter in module.parameters():
        parameter.requires_grad = value


@pytest.mark.parametrize("freeze", [lambda m, value: m.requires_grad_(value), one_by_one])
def test_parameters_frozen_for_a_while_are_not_judged(freeze):
    with pytest.raises(NotApplicable, match=r"does not know of requires_grad_\(False\)"):
        seen(lambda: Adversarial(freeze))
    with pytest.raises(NotApplicable, match="a mismatch is declared: the generator's loss holds the discriminator"):
        seen(lambda: Adversarial(freeze), intended={"judge": "the generator's loss holds the discriminator"})


def test_a_declared_function_is_not_judged():
    def make():
        return Stopping(lambda m, h: Skewed.apply(h))

    assert seen(make) > 1e-5
    assert seen(make, intended={"elsewhere": "meant"}) > 1e-5
    with pytest.raises(NotApplicable, match="a mismatch is declared: rounded backwards"):
        seen(make, intended={"Skewed": "rounded backwards"})


def test_freezing_what_has_no_tangent_is_no_excuse():
    def how(m, h):
        return torch.ones(4, dtype=h.dtype).requires_grad_(False) * Skewed.apply(h)

    assert seen(lambda: Stopping(how)) > 1e-5


def test_tangents_go_on_afterwards():
    with forward_ad.dual_level():
        x = forward_ad.make_dual(torch.ones(2), torch.full((2,), 3.0))
        with TangentsStopped() as stops:
            with torch.no_grad():
                stopped = 2 * x
            free = 2 * x
        assert stops.ignored == ""
        assert forward_ad.unpack_dual(stopped).tangent is None
        assert forward_ad.unpack_dual(free).tangent.tolist() == [6.0, 6.0]
        with TangentsStopped():
            torch.set_grad_enabled(False)
        torch.set_grad_enabled(True)
        assert forward_ad.unpack_dual(x + 0).tangent.tolist() == [3.0, 3.0]
