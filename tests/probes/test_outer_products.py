"""Outer products and recomputation: which layers are judged, what a hook, a mean and a counter do."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.checkpointed_pass import checkpointed_pass
from gradcheck_suite.probes.outer_products import outer_products
from gradcheck_suite.subject import Batch, Setup, Subject


class MeanLinear(torch.autograd.Function):
    """x Wᵀ whose weight gradient is averaged over the batch."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.T @ x / len(x)


class Averaging(nn.Linear):
    def forward(self, x):
        return MeanLinear.apply(x, self.weight)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


class Counting(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


def of(make, *inputs, probe=outer_products, intended=()):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch(inputs or (torch.randn(3, 6, 4),)), intended=dict.fromkeys(intended, "meant"))

    return probe(Subject("model", setup), BUDGETS["quick"], 0)


@pytest.mark.parametrize(("make", "calls"), [(Twice, [2]), (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), [1, 1])])
def test_right_layers_are_sums_of_outer_products(make, calls):
    seen = of(make)
    assert seen.calls.tolist() == calls
    assert (seen.weight <= 8 * seen.epsilon).all()
    assert (seen.bias <= 8 * seen.epsilon).all()
    np.testing.assert_allclose(seen.weight_ratio, 1.0)


def test_a_mean_over_the_batch_is_told_by_its_factor():
    seen = of(lambda: nn.Sequential(Averaging(4, 5, bias=False), nn.Tanh()), torch.randn(8, 4))
    assert seen.weight[0] > 0.01
    assert seen.weight_ratio[0] == pytest.approx(1 / 8)
    assert np.isnan(seen.bias[0])


def hooked():
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    model[0].weight.register_hook(lambda gradient: 2 * gradient)
    return model


def test_a_hook_is_seen_unless_it_is_declared():
    seen = of(hooked)
    assert seen.weight_ratio.tolist() == pytest.approx([2.0, 1.0])
    assert of(hooked, intended=("0",)).paths == ("1",)


def test_tied_weights_are_left_out():
    with pytest.raises(NotApplicable, match="weight of its own"):
        of(Tied, torch.tensor([[0, 1], [2, 3]]))


def test_recomputation_repeats_masks_and_sees_counters():
    calm = of(lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Linear(5, 2)), probe=checkpointed_pass)
    assert calm.bits.sum() == calm.repeated_bits == 0
    counted = of(lambda: nn.Sequential(nn.Linear(4, 5), Counting(), nn.Tanh(), nn.Linear(5, 2)), probe=checkpointed_pass)
    assert counted.repeated_bits == 0
    assert counted.relative.max() > 0.01


@pytest.mark.parametrize("normed", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_power_iterations_are_no_hidden_state(normed):
    seen = of(lambda: nn.Sequential(normed(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2)), probe=checkpointed_pass)
    assert seen.bits.sum() == 0
    assert seen.repeated_bits == 0


def test_views_that_are_changed_in_place_are_left_out():
    def make():
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))

    assert of(make, torch.randn(3, 6, 4)).paths == ("2",)
    with pytest.raises(NotApplicable, match="changed in place"):
        of(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True)), torch.randn(3, 6, 4))


def test_masked_weights_are_left_out():
    class Masked(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight.tril(), self.bias)

    assert of(lambda: nn.Sequential(Masked(4, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(3, 4)).paths == ("2",)


class Doubling(nn.Module):
    """Doubles, on its way back, the gradient that arrives at a layer's output."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        y = self.layer(x)
        y.register_hook(lambda gradient: 2 * gradient)
        return torch.tanh(y)


def test_a_hook_on_the_output_is_not_the_layers_fault():
    seen = of(Doubling)
    assert seen.weight[0] <= 8 * seen.epsilon[0]
    assert seen.bias[0] <= 8 * seen.epsilon[0]


class Checkpointed(nn.Module):
    """Runs one of its layers again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(checkpoint(self.inner, x, use_reentrant=False))


def test_layers_that_the_backward_pass_runs_again_are_left_out():
    assert of(Checkpointed).paths == ("head",)
