"""Second moments of convolutions against torch networks, closed forms at edges, and Cox's statistic against log-normal draws."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.numerics.convolution_moments import Convolution, lognormal_limit, lognormal_score, mean_stretch


def layer(size, channels=1, *, gain=2.0, slope=0.0, padding=1, stride=1, circular=False):
    return Convolution(variance=gain / (9 * channels), inputs=channels, slope=slope, sizes=(size, size), kernel=(3, 3),
                       stride=(stride, stride), padding=(padding, padding), dilation=(1, 1), circular=circular)


def test_circular_and_valid_padding_are_critical():
    assert mean_stretch([layer(8, 4, circular=True)] * 6) == pytest.approx(1.0)
    assert mean_stretch([layer(9, 4, padding=0), layer(7, 4, padding=0)]) == pytest.approx(1.0)
    assert mean_stretch([layer(8, 4, slope=0.2, gain=2 / 1.04, circular=True)] * 3) == pytest.approx(1.0)


def test_zero_padding_takes_the_factor_of_its_size():
    """Per layer ((1 + 2 cos(π/(s+1)))/3)^2 for a kernel of three, in the limit of many layers."""
    deep, deeper = (mean_stretch([layer(8)] * depth) for depth in (40, 41))
    assert deeper / deep == pytest.approx(((1 + 2 * math.cos(math.pi / 9)) / 3) ** 2, rel=1e-6)
    assert mean_stretch([layer(8)] * 10) == pytest.approx(0.353, abs=1e-3)


def test_a_dense_layer_reads_everything():
    dense = Convolution(variance=2 / 64, inputs=64, slope=0.0)
    assert mean_stretch([dense, dense]) == pytest.approx(1.0)
    image = [layer(6, 2), Convolution(variance=1 / (2 * 36), inputs=2 * 36, slope=1.0)]
    assert mean_stretch(image) == pytest.approx(mean_stretch([layer(6, 2)]))


@pytest.mark.parametrize(("stride", "groups", "padding"), [(2, 1, 1), (1, 2, 1), (1, 4, 0)])
def test_moments_are_those_of_torch(stride, groups, padding):
    torch.manual_seed(0)
    channels, size, found = 4, 7, []
    for _ in range(1500):
        model = nn.Sequential(nn.Conv2d(channels, channels, 3, stride, padding, groups=groups, bias=False), nn.ReLU(),
                              nn.Conv2d(channels, channels, 3, 1, 1, groups=groups, bias=False)).double()
        for module in (model[0], model[2]):
            nn.init.normal_(module.weight, std=math.sqrt(2 / module.weight[0].numel()))
        x = torch.randn(1, channels, size, size, dtype=torch.float64, requires_grad=True)
        y = model(x)
        u = torch.randn_like(y)
        (gradient,) = torch.autograd.grad(y, x, u)
        found.append(float(gradient.square().sum() / u.square().sum()))
    inner = (size + 2 * padding - 3) // stride + 1
    law = [layer(size, channels // groups, padding=padding, stride=stride), layer(inner, channels // groups, slope=1.0, gain=2.0)]
    assert np.mean(found) == pytest.approx(mean_stretch(law), abs=4 * np.std(found) / math.sqrt(len(found)))


def test_score_is_centred_and_its_limit_is_kept():
    generator = np.random.default_rng(0)
    scores = [lognormal_score(generator.normal(-0.5, 1.0, 16), 0.0) for _ in range(4000)]
    assert np.mean(np.abs(scores) > lognormal_limit(16, 0.01)) <= 0.01
    assert abs(np.mean(scores)) < 0.2
    assert abs(lognormal_score(generator.normal(1.0, 1.0, 64), 0.0)) > lognormal_limit(64, 1e-6)
