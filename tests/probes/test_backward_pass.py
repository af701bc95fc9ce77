"""Backward pass and repeated pass against small models whose numbers are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.backward_pass import backward_pass
from gradcheck_suite.probes.repeated_pass import repeated_pass
from gradcheck_suite.subject import Batch, Setup, Subject

QUICK = BUDGETS["quick"]


def subject(make, *inputs, loss=None, targets=None):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch(inputs, {}, targets), loss)

    return Subject("model", setup)


class Trap(nn.Module):
    """Finite value, gradient not finite: the branch not taken has an infinite slope."""

    def forward(self, x):
        return torch.where(x > 0, x, (x - x.detach()).sqrt())


class Dithered(torch.autograd.Function):
    """The identity with noise from the global generator in its gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 + 0.1 * torch.rand_like(gradient))


class Dither(nn.Module):
    def forward(self, x):
        return Dithered.apply(x)


class Noisy(nn.Module):
    def forward(self, x):
        generator = torch.Generator()
        generator.seed()
        return x * torch.rand(x.shape, generator=generator)


def test_statistics_of_a_known_chain():
    def make():
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), nn.Linear(2, 1, bias=False))
        model[0].weight.data = torch.tensor([[3.0, 0.0], [0.0, -4.0]])
        model[2].weight.data = torch.tensor([[2.0, 5.0]])
        return model

    seen = backward_pass(subject(make, torch.ones(1, 2), loss=lambda y, _: y.sum()), QUICK, 0)
    assert seen.paths == ("0", "1", "2")
    assert seen.kinds == ("Linear", "ReLU", "Linear")
    np.testing.assert_allclose(seen.activation_rms, [math.sqrt((9 + 16) / 2), math.sqrt(9 / 2), 6.0])
    np.testing.assert_allclose(seen.activation_zeros, [0.0, 0.5, 0.0])
    np.testing.assert_allclose(seen.gradient_rms, [math.sqrt(4 / 2), math.sqrt((4 + 25) / 2), 1.0])
    np.testing.assert_allclose(seen.parameter_gradient_rms, [math.sqrt(8 / 4), math.sqrt(9 / 2)])
    np.testing.assert_allclose(seen.dead, [math.nan, 0.5, math.nan])
    np.testing.assert_allclose(seen.slope, [math.nan, math.sqrt(0.5), math.nan])
    assert (seen.objective, seen.epsilon, seen.producer) == (6.0, torch.finfo(torch.float32).eps, None)
    again = decode(encode(seen))
    np.testing.assert_array_equal(again.gradient_rms, seen.gradient_rms)


@pytest.mark.parametrize(("activation", "scale", "share"), [(nn.Tanh(), 100.0, 1.0), (nn.Tanh(), 0.1, 0.0), (nn.Sigmoid(), 100.0, 1.0),
                                                            (nn.GELU(), 0.1, 0.0)])
def test_saturation_is_measured_by_differentiating(activation, scale, share):
    inputs = scale * torch.linspace(0.5, 1.5, 12).reshape(3, 4)
    seen = backward_pass(subject(lambda: nn.Sequential(nn.Linear(4, 4), activation, nn.Softmax(-1)), inputs), QUICK, 0)
    direct = backward_pass(subject(lambda: nn.Sequential(activation, nn.Linear(4, 2)), inputs), QUICK, 0)
    assert math.isnan(seen.saturated[0])
    assert math.isnan(seen.saturated[2])
    assert direct.saturated[0] == share


def test_the_forward_producer_is_named():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    seen = backward_pass(subject(lambda: nn.Sequential(nn.Identity(), Root(), nn.Linear(3, 1)), -torch.ones(2, 3)), QUICK, 0)
    assert (seen.producer.phase, seen.producer.operation, seen.producer.module) == ("forward", "sqrt", "1")
    assert seen.activation_nonfinite[-1] == 2
    assert "test_backward_pass.py" in seen.producer.source


def test_the_backward_producer_is_named_with_its_line():
    make = lambda: nn.Sequential(nn.Linear(3, 3), Trap(), nn.Linear(3, 1))  # noqa: E731
    seen = backward_pass(subject(make, torch.randn(8, 3)), QUICK, 1)
    assert math.isfinite(seen.objective)
    assert seen.parameter_gradient_nonfinite[0] > 0
    assert (seen.producer.phase, seen.producer.operation, seen.producer.module) == ("backward", "SqrtBackward0", "1")
    assert "test_backward_pass.py:" in seen.producer.source


def test_a_frozen_model_has_no_backward_pass():
    with pytest.raises(NotApplicable, match="requires a gradient"):
        backward_pass(subject(lambda: nn.Embedding(3, 2).requires_grad_(False), torch.tensor([0, 1]), loss=lambda y, _: y.sum()), QUICK, 0)


def test_an_instance_is_left_bit_identical():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    before = [t.clone() for t in (*model.parameters(), *model.buffers())]
    one = Subject("instance", lambda seed: Setup(model, Batch((torch.ones(4, 3).cumsum(0),))), fresh=False)
    backward_pass(one, QUICK, 0)
    repeated_pass(one, QUICK, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_repeated_pass_counts_bits():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 2))
    same = repeated_pass(subject(lambda: model, torch.randn(5, 3)), QUICK, 0)
    assert same.bits.sum() == same.again_bits.sum() == same.forward_bits.sum() == same.output_bits == 0
    assert same.rows.roles == ("layer", "layer", "layer", "input", "parameter", "parameter", "parameter", "parameter")
    noisy = repeated_pass(subject(lambda: nn.Sequential(nn.Linear(3, 4), Noisy(), nn.Linear(4, 1)), torch.randn(5, 3)), QUICK, 0)
    assert noisy.forward_bits[0] == 0
    assert (noisy.forward_bits[1:3] > 0).all()
    assert noisy.output_bits > 0
    assert noisy.relative.max() > 1e-3


def test_a_second_backward_pass_through_one_graph_tells_noise_from_seeded_noise():
    seen = repeated_pass(subject(lambda: nn.Sequential(nn.Linear(3, 4), Dither()), torch.randn(5, 3)), QUICK, 0)
    assert seen.bits.sum() == 0
    wrong = (seen.again_bits > 0).tolist()
    assert seen.rows.suspect(wrong).module == "1"


class Uncertain(nn.Module):
    """A model whose output is a distribution."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return torch.distributions.Normal(x, self.scale)


def test_a_distribution_needs_a_loss_that_reads_it():
    with pytest.raises(NotApplicable, match="a Normal, and there is no loss"):
        backward_pass(subject(Uncertain, torch.randn(4, 3)), QUICK, 0)
    seen = backward_pass(subject(Uncertain, torch.randn(4, 3), loss=lambda y, t: -y.log_prob(t).sum(), targets=torch.zeros(4, 3)), QUICK, 0)
    assert seen.parameter_gradient_rms[0] > 0


class Squared(nn.Module):
    def forward(self, x):
        return x.relu().square()


@pytest.mark.parametrize(("activation", "saturated"), [(Squared(), 0.25), (nn.Tanh(), 0.5)])
def test_slopes_without_a_bound_are_measured_against_the_largest_that_was_met(activation, saturated):
    make = lambda: nn.Sequential(nn.Identity(), activation)  # noqa: E731
    x = torch.tensor([[-1.0, 1.0, 2.0, 3.0]])
    seen = backward_pass(subject(make, x if saturated == 0.25 else x * torch.tensor([0.1, 1.0, 3.0, 3.0]), loss=lambda y, _: y.sum(),
                                 targets=None), QUICK, 0)
    assert seen.saturated[-1] == pytest.approx(saturated)


class Gate(nn.Module):
    """An activation of a single number."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x * torch.sigmoid(self.gate)


def test_an_activation_of_one_number_is_one_unit():
    seen = backward_pass(subject(Gate, torch.randn(4, 3)), QUICK, 0)
    assert (seen.kinds[0], seen.units[0], seen.channels[0]) == ("sigmoid", 1, 1)
