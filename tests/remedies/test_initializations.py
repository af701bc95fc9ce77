"""Weights drawn again: their law, their effect on the gradient, what stays."""

import math

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies import remedy
from tests.remedies.setups import gradient_factors, setup, stack


@pytest.mark.parametrize(("name", "variance"), [("he-initialization", 2 / 400), ("glorot-initialization", 2 / 500)])
def test_the_variance_is_that_of_the_law(name, variance):
    torch.manual_seed(0)
    changed = remedy(name)(setup(nn.Sequential(nn.Linear(400, 100), nn.ReLU(), nn.Conv2d(1, 1, 3))))
    weight = changed.model[0].weight
    # the mean square of n normal entries has a relative standard deviation of sqrt(2 / n): five of them
    assert abs(float(weight.detach().square().mean()) / variance - 1) < 5 * math.sqrt(2 / weight.numel())
    assert not changed.model[0].bias.any()


def test_orthogonal_weights_keep_every_norm():
    model = remedy("orthogonal-initialization")(setup(nn.Sequential(nn.Linear(16, 16), nn.RNN(16, 8)))).model
    for weight in (model[0].weight, model[1].weight_hh_l0):
        assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


def test_he_keeps_the_gradients_scale_where_the_default_loses_it():
    torch.manual_seed(1)
    inputs = torch.randn(8, 64)
    model = stack(depth=20, width=64)
    first, last = gradient_factors(model, inputs, ["0", "38"])
    assert first / last < 1e-5  # sqrt(1 / 6) to the power of 19 is 4e-8
    first, last = gradient_factors(remedy("he-initialization")(setup(model)).model, inputs, ["0", "38"])
    # the logarithm of the squared norm has a variance of about 5 / width per layer: six standard deviations
    assert abs(2 * math.log(first / last)) < 6 * math.sqrt(5 * 19 / 64)


def test_frozen_weights_stay():
    model = stack()
    model[0].requires_grad_(False)
    kept = model[0].weight.clone(), model[0].bias.clone()
    remedy("he-initialization")(setup(model))
    assert torch.equal(model[0].weight, kept[0])
    assert torch.equal(model[0].bias, kept[1])


@pytest.mark.parametrize("name", ["he-initialization", "glorot-initialization", "orthogonal-initialization"])
def test_without_weights_to_draw_it_is_not_applicable(name):
    frozen = stack().requires_grad_(False)
    for model in (nn.Sequential(nn.ReLU()), nn.BatchNorm1d(16), frozen):
        with pytest.raises(NotApplicable, match="whose weights are trained"):
            remedy(name)(setup(model))


def test_the_forget_gates_biases_add_up_to_one():
    lstm = remedy("forget-gate-bias")(setup(nn.LSTM(4, 5, num_layers=2, bidirectional=True))).model
    for end in ("l0", "l1", "l0_reverse", "l1_reverse"):
        total = getattr(lstm, f"bias_ih_{end}") + getattr(lstm, f"bias_hh_{end}")
        assert torch.equal(total[5:10], torch.ones(5))
        assert (total[:5] != 1).all()
        assert (total[10:] != 1).all()


def test_it_lets_the_gradient_live_longer():
    def factor(model):
        inputs = torch.randn(30, 4, 32, requires_grad=True)
        model(inputs)[0][-1].sum().backward()
        return (float(inputs.grad[0].norm()) / float(inputs.grad[-1].norm())) ** (1 / 29)

    torch.manual_seed(0)
    model = nn.LSTM(32, 32)
    before = factor(model)
    after = factor(remedy("forget-gate-bias")(setup(model)).model)
    assert after > before + 0.05


@pytest.mark.parametrize("model", [nn.GRU(3, 3), nn.LSTM(3, 3, bias=False), nn.Linear(3, 3)])
def test_without_forget_gates_it_is_not_applicable(model):
    with pytest.raises(NotApplicable, match="no LSTM with biases"):
        remedy("forget-gate-bias")(setup(model))
