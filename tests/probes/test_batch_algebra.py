"""Batch algebra: sums over samples, permutations, and what has no samples."""

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.numerics.rounding import DOUBLE, above_roundoff, explained, largest
from gradcheck_suite.probes.batch_algebra import batch_algebra
from gradcheck_suite.subject import Batch, Setup, Subject


class MeanBias(torch.autograd.Function):
    """x + b with the bias gradient averaged over the batch instead of summed."""

    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient.mean(0)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return MeanBias.apply(x, self.bias)


class Ranked(nn.Module):
    """Scales each sample by its position in the batch."""

    def forward(self, x):
        return x * (1 + torch.arange(len(x), dtype=x.dtype))[:, None]


class OnlyInTraining(torch.autograd.Function):
    """A backward pass that refuses evaluation mode, as reversible layers do."""

    @staticmethod
    def forward(ctx, x, training):
        ctx.training = training
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        assert ctx.training, "use model.train()"
        return 2 * gradient, None


class Reversible(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return OnlyInTraining.apply(self.layer(x), self.training)


def capture(make, *inputs, dtype=torch.float32):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make().to(dtype), Batch(inputs or (torch.randn(5, 3, dtype=dtype),)))

    return batch_algebra(Subject("model", setup), BUDGETS["quick"], 0)


def test_a_right_network_adds_up_in_any_order():
    seen = capture(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)))
    assert seen.samples == 5
    assert seen.gap < 1e-12
    assert (seen.residual <= 1e-14 * seen.scale).all()
    assert (seen.permuted_residual <= 1e-14 * seen.permuted_scale).all()


def test_a_mean_in_place_of_a_sum_is_found_in_its_parameter():
    seen = capture(lambda: nn.Sequential(nn.Linear(3, 4), Shift(), nn.Linear(4, 2)))
    wrong = seen.residual > 1e-6 * np.where(seen.scale > 0, seen.scale, 1)
    assert [name for name, bad in zip(seen.rows.names, wrong, strict=True) if bad] == ["1.bias"]
    assert seen.rows.suspect(wrong.tolist()).parameter == "bias"
    assert (seen.permuted_residual <= 1e-14 * np.where(seen.permuted_scale > 0, seen.permuted_scale, 1)).all()


def test_samples_that_know_their_place_are_seen():
    seen = capture(lambda: nn.Sequential(nn.Linear(3, 4), Ranked()))
    assert seen.gap > 0.1
    assert (seen.permuted_residual > 0.01 * seen.permuted_scale).any()


def test_what_has_no_samples_is_not_judged():
    with pytest.raises(NotApplicable, match="one sample"):
        capture(lambda: nn.Linear(3, 2), torch.randn(1, 3))
    with pytest.raises(NotApplicable, match="no common sample axis"):
        capture(lambda: nn.Sequential(nn.Linear(3, 2), nn.Flatten(0)), torch.randn(4, 3))


def test_a_model_that_cannot_be_differentiated_in_evaluation_mode_is_not_judged_there():
    with pytest.raises(NotApplicable, match=r"evaluation mode: .*use model.train"):
        capture(Reversible, torch.randn(5, 4))
    with pytest.raises(AssertionError):
        Reversible().eval()(torch.randn(5, 4)).sum().backward()


def test_the_model_is_put_back_in_its_own_format():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = [t.clone() for t in (*model.parameters(), *model.buffers())]
    subject = Subject("one", lambda seed: Setup(model, Batch((torch.ones(4, 3).cumsum(0),))), fresh=False)
    batch_algebra(subject, BUDGETS["quick"], 0)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True))
    assert model.training
    assert torch.get_default_dtype() == torch.float32


class Keys(nn.Module):
    """Attention to equally shifted keys: the bias of the keys has no gradient but rounding."""

    def __init__(self):
        super().__init__()
        self.key, self.value = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, self.key(x), self.value(x))


def test_a_zero_gradient_is_told_from_a_wrong_one_by_its_precision():
    seen = capture(Keys, torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)))
    bias = seen.rows.names.index("key.bias")
    assert seen.residual[bias] > largest(DOUBLE) * seen.scale[bias]
    assert explained(seen.residual[bias], seen.scale[bias], seen.noise[bias], DOUBLE, seen.other_residual[bias])[1]
    wrong = capture(lambda: nn.Sequential(nn.Linear(3, 4), Shift(), nn.Linear(4, 2)))
    bias = wrong.rows.names.index("1.bias")
    allowed, rounded = explained(wrong.residual[bias], wrong.scale[bias], wrong.noise[bias], DOUBLE, wrong.other_residual[bias])
    assert not rounded
    assert wrong.residual[bias] > allowed


def test_inputs_that_relate_the_samples_are_told():
    class Gather(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(3, 2)

        def forward(self, x, edges):
            return self.dense(x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]))

    with pytest.raises(NotApplicable, match="index without a sample axis"):
        capture(Gather, torch.randn(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]]))
    with pytest.raises(NotApplicable, match="part of its batch"):
        capture(lambda: nn.Sequential(nn.Linear(3, 8), nn.Unflatten(0, (2, 2)), nn.Flatten(0, 1)), torch.randn(4, 3))


def test_what_all_samples_share_has_no_rows():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.dense = nn.Parameter(torch.randn(1, 3)), nn.Linear(3, 3)

        def forward(self, x):
            return torch.tanh(x) * self.dense(self.table)

    seen = capture(Positions, torch.randn(4, 3))
    assert (seen.residual <= 1e-14 * seen.scale).all()


def test_routing_by_the_sample_is_told():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])

        def forward(self, x):
            sums = x.sum(1)
            y = torch.zeros(len(x), 2, dtype=x.dtype)
            for index, expert in enumerate(self.experts):
                chosen = (sums > 0) == bool(index)
                if chosen.any():
                    y = y.index_put((chosen,), expert(x[chosen]))
            return y

    with pytest.raises(NotApplicable, match="which layers run"):
        capture(Routed, torch.tensor([[1.0, 1, 1], [-1, -1, -2], [2, 0, 1]]))


def test_residuals_below_the_roundoff_of_the_largest_terms_are_not_judged():
    kept = above_roundoff(np.array([1e-18, 1e-3, 1e-18]), np.array([1e-18, 10.0, 1.0]), DOUBLE)
    assert kept.tolist() == [0.0, 1e-3, 0.0]


class Switching(nn.Linear):
    """Runs itself on data of its own when its mode is set."""

    def train(self, mode=True):
        if not mode:
            self.data = self(torch.ones(2, 3, dtype=torch.float32))
        return super().train(mode)


def test_a_mode_that_cannot_be_set_in_float64_is_a_fact():
    with pytest.raises(NotApplicable, match="does not run in float64: RuntimeError: mat1"):
        capture(lambda: Switching(3, 4))


class Masked(nn.Linear):
    """Adds a mask that float32 holds and the product of which float64 does not."""

    def forward(self, x):
        mask = torch.tensor([0.0]) * (torch.inf if x.dtype == torch.float64 else 1.0)
        return super().forward(x) + mask


def test_outputs_that_are_nan_in_float64_compare_with_nothing():
    with pytest.raises(NotApplicable, match="NaN in float64"):
        capture(lambda: Masked(3, 4))
