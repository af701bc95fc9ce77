"""Dead units, slopes of activation functions and the spread of attention scores."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.unit_activity import UnitActivity
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.activations import SLOPES, aten
from gradcheck_suite.probes.experiment import is_finite
from gradcheck_suite.probes.unit_activity import unit_activity
from tests.probes.small import mlp, regression, subject


def seen(make, data=None, **options) -> UnitActivity:
    return unit_activity(subject(make, data or regression(), **options), BUDGETS["quick"], 1)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "hardtanh", "sigmoid", "tanh"])
def test_slopes_agree_with_autograd_and_their_largest_is_one(name):
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    function = getattr(functional, name)
    leaf = x.clone().requires_grad_()
    exact = torch.autograd.grad(function(leaf).sum(), leaf)[0].abs()
    _, slope = SLOPES[getattr(aten, name)]
    found = slope(x, ())
    inner = (x.abs() > 1e-2) & ((x.abs() - 1).abs() > 1e-2)
    assert torch.allclose(found[inner], (exact / exact.max())[inner], atol=4e-3)
    assert float(found.max()) == pytest.approx(1.0, abs=4e-3)


def test_dead_units_are_counted_per_layer_now_and_later():
    def net():
        model = mlp(4, 8, 8, 2, activation=nn.ReLU)
        with torch.no_grad():
            model[0].bias[:3] = -100.0
            model[2].bias[:] = -100.0
        return model

    capture = seen(net)
    assert [(layer.module, layer.dead, layer.units) for layer in capture.layers] == [("1", 3, 8), ("3", 8, 8)]
    assert [layer.dead for layer in capture.later] == [3, 8]
    assert capture.samples == 16
    assert decode(encode(capture)).layers[1].dead == 8


def test_a_rectifier_of_zeros_is_on_its_kink_and_not_dead():
    class Scaled(nn.Module):
        def __init__(self, offset):
            super().__init__()
            self.layer, self.gain, self.offset = nn.Linear(4, 2), nn.Parameter(torch.zeros(())), offset

        def forward(self, x):
            return torch.relu(self.gain * self.layer(x) + self.offset)

    assert [layer.dead for layer in seen(lambda: Scaled(0.0)).layers] == [0]
    assert [layer.dead for layer in seen(lambda: Scaled(-1.0)).layers] == [2]


def test_functional_activations_are_seen_with_the_layer_before_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.c(torch.tanh(self.b(functional.relu(self.a(x)))))

    capture = seen(Net)
    assert [(layer.function, layer.place) for layer in capture.layers] == [("relu", "a"), ("tanh", "b")]


def test_calls_of_a_loop_are_one_layer():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = x
            for _ in range(5):
                h = torch.tanh(self.u(h))
            return self.out(h)

    (layer,) = seen(Loop).layers
    assert layer.observations == 5 * 16


def test_units_of_an_image_are_its_channels():
    def net():
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))

    capture = seen(net, (torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)), regression()[1]))
    assert capture.layers[0].units == 6
    assert capture.layers[0].observations == 16 * 4


def test_an_activation_that_is_the_output_is_marked():
    assert [layer.final for layer in seen(lambda: mlp(4, 8, 2, last=nn.Sigmoid())).layers] == [False, True]


def test_saturation_shows_in_the_mean_slope():
    wide = seen(lambda: mlp(4, 64, 2), (regression()[0] * 1000, regression()[1])).layers[0].slope
    usual = seen(lambda: mlp(4, 64, 2)).layers[0].slope
    assert wide < 0.05
    assert usual > 0.5


class Attention(nn.Module):
    """Attention over rows without and with the division by the root of the width."""

    def __init__(self, width, scale, fused):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        for layer in (self.q, self.k):
            nn.init.normal_(layer.weight, std=width**-0.5)
        self.scale, self.fused = scale, fused

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.fused:
            return functional.scaled_dot_product_attention(q, k, v, scale=self.scale).mean(1)[:, :2]
        return (torch.softmax(q @ k.transpose(1, 2) * self.scale, -1) @ v).mean(1)[:, :2]


@pytest.mark.parametrize("fused", [False, True])
def test_attention_without_its_scale_is_frozen(fused):
    data = (torch.randn(16, 12, 64, generator=torch.Generator().manual_seed(0)), regression()[1])
    frozen = seen(lambda: Attention(64, 1.0, fused), data).layers[0]
    usual = seen(lambda: Attention(64, 64**-0.5, fused), data).layers[0]
    assert (frozen.function, frozen.inner, frozen.choices) == ("softmax", True, 12)
    assert frozen.freezing > 2
    assert usual.freezing < 0.6
    assert frozen.concentration > 3 * usual.concentration
    assert len(frozen.spreads) == len(set(frozen.spreads)) == 16
    assert min(frozen.spreads) > 2 * frozen.freezing_point
    assert usual.spreads == ()


def counted(make, seconds=60.0):
    """The attention of a model whose weights are too large, and how often it was built."""
    built = []
    data = (torch.randn(16, 12, 64, generator=torch.Generator().manual_seed(0)), regression()[1])
    given = subject(lambda: built.append(1) or make(), data)
    return unit_activity(given, replace(BUDGETS["quick"], seconds=seconds), 1).layers[0], len(built)


def test_weights_that_every_seed_gives_are_not_drawn_again():
    trained = Attention(64, 1.0, False).state_dict()

    def load():
        model = Attention(64, 1.0, False)
        model.load_state_dict(trained)
        return model

    layer, built = counted(load)
    assert layer.freezing > 2
    assert layer.spreads == ()
    assert built == 2


def test_draws_end_with_the_time_but_not_before_a_deviation_can_be_told():
    layer, built = counted(lambda: Attention(64, 1.0, False), seconds=0.0)
    assert len(set(layer.spreads)) == 2
    assert built == 3


def test_a_softmax_that_is_returned_is_not_attention():
    (layer,) = seen(lambda: mlp(4, 3, last=nn.Softmax(1)), (regression()[0], torch.rand(16, 3))).layers
    assert not layer.inner


@pytest.mark.parametrize("mask", [-math.inf, -100.0, -1e4, -1e9, torch.finfo(torch.float32).min])
def test_masked_entries_do_not_count_as_choices(mask):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.v = nn.Linear(4, 2)

        def forward(self, x):
            scores = torch.zeros(16, 8).masked_fill(torch.arange(8) >= 5, mask)
            return torch.softmax(scores, -1) @ self.v(x)[:8]

    (layer,) = seen(Masked).layers
    assert layer.choices == 5
    assert layer.spread == 0.0
    assert layer.concentration == pytest.approx(0.2)


def test_sparse_gradients_are_looked_through():
    dense = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert is_finite(dense.to_sparse(), None)
    assert not is_finite((dense / 0.0).nan_to_num(nan=0.0, posinf=torch.inf).to_sparse())
