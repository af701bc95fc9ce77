"""Normalisation layers alone and behind weights: identities over random layers, the classic mistake, what is not judged."""

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.normalization_calls import normalization_calls
from gradcheck_suite.probes.normalized_weights import normalized_weights
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53


class DetachedVariance(nn.LayerNorm):
    """The classic mistake of a hand-written norm: mean and variance are constants to the backward pass."""

    def forward(self, x):
        mean, variance = x.mean(-1, keepdim=True).detach(), x.var(-1, keepdim=True, unbiased=False).detach()
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


def of(make, x, probe=normalization_calls):
    def setup(seed):
        torch.manual_seed(seed)
        model = make()
        for parameter in model.parameters():
            nn.init.normal_(parameter)
        return Setup(model, Batch((x,)))

    return probe(Subject("model", setup), BUDGETS["quick"], 5)


MAKERS = [
    lambda eps: nn.LayerNorm(6, eps=eps), lambda eps: nn.RMSNorm(6, eps=eps), lambda eps: nn.BatchNorm2d(4, eps=eps),
    lambda eps: nn.GroupNorm(2, 4, eps=eps), lambda eps: nn.InstanceNorm2d(4, eps=eps, affine=True),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("eps", "scale", "mean"), [(1e-5, 1.0, 0.0), (1e-10, 1e-3, 5.0), (1e-2, 0.1, 1.0)])
def test_identities_hold_to_rounding(make, eps, scale, mean):
    torch.manual_seed(0)
    seen = of(lambda: nn.Sequential(make(eps), nn.Tanh()), mean + scale * torch.randn(3, 4, 5, 6))
    assert seen.output_bits.sum() == seen.gradient_bits.sum() == 0
    assert seen.euler[0] <= 64 * ROUNDOFF
    assert seen.contraction[0] <= 1 + 64 * ROUNDOFF * seen.offset[0]
    assert np.isnan(seen.total[0]) if not seen.centred[0] else seen.total[0] <= 32 * ROUNDOFF
    np.testing.assert_array_equal(decode(encode(seen)).euler, seen.euler)


def test_statistics_taken_for_constants_are_seen():
    seen = of(lambda: nn.Sequential(DetachedVariance(6)), torch.randn(5, 6))
    assert seen.kinds == ("DetachedVariance",)
    assert seen.euler[0] > 0.1
    assert seen.total[0] > 0.01
    assert seen.gradient_bits[0] == 0


class OverChannels(nn.LayerNorm):
    """PyTorch's layer in the layout of images, as vision models subclass it."""

    def forward(self, x):
        return nn.functional.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)


@pytest.mark.parametrize("shape", [(3, 6, 2, 5), (3, 6, 6, 6)])
def test_a_subclass_that_normalises_over_other_axes_is_not_judged(shape):
    seen = of(lambda: nn.Sequential(OverChannels(6), nn.InstanceNorm2d(6)), torch.randn(*shape))
    assert seen.kinds == ("InstanceNorm2d",)


def test_norms_on_running_statistics_are_not_judged():
    with pytest.raises(NotApplicable, match="no normalisation layer"):
        of(lambda: nn.Sequential(nn.BatchNorm1d(6)).eval(), torch.randn(5, 6))


def test_weights_before_a_batch_norm():
    seen = of(lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4)),
              torch.randn(9, 6), normalized_weights)
    assert (seen.weights, seen.norms) == (("0", "3"), ("1", "4"))
    assert seen.biased.tolist() == [True, False]
    assert seen.bias[0] <= 128 * ROUNDOFF
    assert (seen.radial <= 256 * ROUNDOFF).all()
    assert (seen.cosine > 1e3 * ROUNDOFF).all()
    assert seen.output_bits.sum() == seen.gradient_bits.sum() == 0


class Forked(nn.Module):
    """The layer feeds its norm and the output as well."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        h = self.linear(x)
        return h + self.norm(h)


@pytest.mark.parametrize("make", [Forked, lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4)),
                                  lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).eval()])
def test_layers_that_feed_more_than_a_batch_norm_are_not_judged(make):
    with pytest.raises(NotApplicable, match="batch norm"):
        of(make, torch.randn(9, 6), normalized_weights)


def test_activations_in_place_do_not_hide_the_norm():
    def make():
        parts = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Conv1d(4, 4, 3), nn.Sigmoid(), nn.BatchNorm1d(4)
        return nn.Sequential(*parts, nn.Conv1d(4, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm1d(4), nn.Flatten())

    seen = of(make, torch.randn(4, 3, 12), normalized_weights)
    assert seen.weights == ("0",)
    assert seen.radial.max() < 256 * ROUNDOFF


class Hidden(torch.autograd.Function):
    """A custom function that runs a module without a graph."""

    @staticmethod
    def forward(ctx, x, module):
        ctx.mark_non_differentiable(module(x))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Hiding(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return Hidden.apply(x, self.norm)


def test_layers_inside_a_custom_function_have_no_place_in_the_graph():
    seen = of(lambda: nn.Sequential(Hiding(), nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.randn(9, 4), normalized_weights)
    assert seen.weights == ("1",)


def test_rounding_of_a_mean_that_dwarfs_deviations_below_epsilon_is_no_radial_gradient():
    narrow = Architecture(input_shape=(1,), layers=(layer("dense", units=5), layer("layer_norm"), layer("batch_norm")), batch=2,
                          initialization="he-normal")
    for seed in range(20):
        seen = normalization_calls(subject(narrow), BUDGETS["quick"], seed)
        assert seen.euler.max() < 16 * ROUNDOFF
