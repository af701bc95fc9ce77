"""Batch algebra: sums over samples, permutations, and what has no samples."""

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
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


def test_the_model_is_put_back_in_its_own_format():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = [t.clone() for t in (*model.parameters(), *model.buffers())]
    subject = Subject("one", lambda seed: Setup(model, Batch((torch.ones(4, 3).cumsum(0),))), fresh=False)
    batch_algebra(subject, BUDGETS["quick"], 0)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True))
    assert model.training
    assert torch.get_default_dtype() == torch.float32
