"""Recurrent layers alone: closed forms without recurrent weights, the bound per step, what is not judged."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.recurrent_calls import recurrent_calls
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53


def capture(make, x):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((x,)))

    return recurrent_calls(Subject("model", setup), BUDGETS["quick"], 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_closed_forms_are_exact(kind, batch_first, bias):
    seen = capture(lambda: kind(3, 5, bias=bias, batch_first=batch_first), torch.randn(6, 7, 3))
    assert seen.residual[0] <= 8 * 7 * ROUNDOFF
    assert seen.steps.tolist() == [7 if batch_first else 6]
    assert (0.2 < seen.gate[0] < 0.8) == (kind is not nn.RNN)
    np.testing.assert_array_equal(decode(encode(seen)).residual, seen.residual)


def test_the_weights_are_put_back():
    model = nn.GRU(3, 5)
    before = model.weight_hh_l0.detach().clone()
    recurrent_calls(Subject("one", lambda seed: Setup(model, Batch((torch.randn(4, 2, 3),))), fresh=False), BUDGETS["quick"], 0)
    assert torch.equal(model.weight_hh_l0, before)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_bound_holds_for_all_weights(nonlinearity, scale):
    def make():
        model = nn.RNN(3, 5, nonlinearity=nonlinearity)
        model.weight_hh_l0.data.mul_(scale)
        return model

    seen = capture(make, torch.randn(9, 4, 3))
    assert seen.excess[0] <= 9 * 64 * ROUNDOFF
    assert seen.radius[0] > 0


class Amplified(nn.RNN):
    def forward(self, x):
        output = super().forward(x)[0]
        return output + 1e3 * (output - output.detach())


def test_an_amplified_gradient_exceeds_the_bound():
    seen = capture(lambda: Amplified(3, 5), torch.randn(9, 4, 3))
    assert seen.excess[0] > math.log(10)


@pytest.mark.parametrize(("make", "shape"), [
    (lambda: nn.LSTM(3, 5, num_layers=2), (4, 2, 3)), (lambda: nn.GRU(3, 5, bidirectional=True), (4, 2, 3)),
    (lambda: nn.RNN(3, 5), (1, 2, 3)), (lambda: nn.LSTM(3, 5, proj_size=2), (4, 2, 3)), (lambda: nn.Linear(3, 5), (4, 2, 3)),
])
def test_other_layers_are_not_judged(make, shape):
    with pytest.raises(NotApplicable, match="no recurrent layer"):
        capture(make, torch.randn(shape))
