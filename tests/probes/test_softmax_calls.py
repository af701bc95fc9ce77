"""Softmaxes alone: which are recognised, and what a lost term does to the gradient."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.softmax_calls import softmax_calls
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53


class Exponentials(nn.Module):
    """A softmax over the last axis, or one whose denominator is held constant."""

    def __init__(self, constant=False):
        super().__init__()
        self.constant = constant

    def forward(self, x):
        e = (x - x.amax(-1, keepdim=True).detach()).exp()
        total = e.sum(-1, keepdim=True)
        return e / (total.detach() if self.constant else total)


class Tempered(nn.Module):
    def forward(self, x):
        return torch.tensor(0.5).to(x).exp() * Exponentials()(0.5 * x)


class Widening(nn.Module):
    def forward(self, x):
        return x.double()


class Written(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, axis, right):
        p = torch.softmax(x, axis)
        ctx.save_for_backward(p)
        ctx.axis, ctx.right = axis, right
        return p

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        return p * (g - (p * g).sum(ctx.axis, keepdim=True) * ctx.right), None, None


class Weighing(nn.Module):
    """Attention by hand with its softmax given."""

    def __init__(self, softmax, mask=None):
        super().__init__()
        self.keys, self.softmax, self.mask = nn.Linear(4, 4), softmax, mask

    def forward(self, x):
        scores = x @ self.keys(x).transpose(1, 2)
        return self.softmax(scores if self.mask is None else scores.masked_fill(self.mask, -torch.inf)) @ x


class Fused(nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x, is_causal=True)


def of(make, intended=(), shape=(2, 5, 4)):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(nn.Sequential(nn.Linear(4, 4), make()), Batch((torch.randn(shape),)), intended=dict.fromkeys(intended, "meant"))

    return softmax_calls(Subject("model", setup), BUDGETS["quick"], 0)


UPPER = torch.ones(5, 5, dtype=torch.bool).triu(1)


@pytest.mark.parametrize(("make", "paths", "functions", "choices", "rows"), [
    (lambda: nn.Softmax(-1), ("1",), ("softmax",), 4, 10), (lambda: nn.Softmax(1), ("1",), ("softmax",), 5, 8),
    (Fused, ("1",), ("softmax",), 5, 8), (lambda: nn.MultiheadAttention(4, 2), None, None, 0, 0),
    (Exponentials, ("1",), ("Exponentials",), 4, 10),
    (lambda: Weighing(lambda s: s.softmax(-1), UPPER), ("1",), ("softmax",), 5, 8),
    (lambda: Weighing(lambda s: Written.apply(s, -1, 1), UPPER), ("1",), ("Written",), 5, 8),
    (lambda: Weighing(lambda s: Written.apply(s, 1, 1)), ("1",), ("Written",), 5, 10),
])
def test_a_right_softmax_is_found_and_has_its_jacobian(make, paths, functions, choices, rows):
    if paths is None:
        make, paths, functions, choices, rows = _attending, ("1.attention",), ("softmax",), 5, 20
    seen = of(make)
    assert (seen.paths, seen.functions) == (paths, functions)
    assert (seen.choices.tolist(), seen.rows.tolist()) == ([choices], [rows])
    assert seen.residual[0] <= 16 * ROUNDOFF
    assert 0 < seen.growth[0] <= 0.5 * (1 + 16 * ROUNDOFF)
    assert seen.plain.tolist() == [functions == ("softmax",)]
    np.testing.assert_array_equal(decode(encode(seen)).residual, seen.residual)


class _Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def _attending():
    return _Attending()


@pytest.mark.parametrize("make", [lambda: Exponentials(constant=True), lambda: Weighing(lambda s: Written.apply(s, -1, 0)),
                                  lambda: Weighing(lambda s: Written.apply(s, 1, 0.99))])
def test_a_lost_term_is_seen(make):
    seen = of(make)
    assert max(seen.residual[0], seen.growth[0] - 0.5) > 1e-4
    assert seen.sources[0] == "" or "test_softmax_calls.py:" in seen.sources[0]


def test_two_even_choices_pass_half_of_a_gradient():
    class Even(nn.Module):
        def forward(self, x):
            return torch.softmax(torch.zeros_like(x[..., :2]) * x[..., :2], -1)

    assert of(Even).growth[0] == pytest.approx(0.5, rel=1e-15)


def test_rows_that_are_masked_altogether_are_left_out():
    class Masked(nn.Module):
        def forward(self, x):
            return torch.softmax(x.masked_fill(torch.arange(5)[:, None] < 2, -torch.inf), -1).nan_to_num(0.0)

    seen = of(Masked)
    assert seen.rows.tolist() == [6]
    assert seen.residual[0] <= 16 * ROUNDOFF


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_softmax_in_a_narrow_format_is_compared_as_such(dtype):
    class Narrow(nn.Module):
        def forward(self, x):
            return torch.softmax(x, -1, dtype=dtype)

    seen = of(lambda: nn.Sequential(Narrow(), Widening()))
    assert seen.epsilon[0] == torch.finfo(dtype).eps
    assert 0 < seen.residual[0] <= 16 * torch.finfo(dtype).eps / 2


@pytest.mark.parametrize("make", [nn.Tanh, Tempered, lambda: nn.LogSoftmax(-1)])
def test_other_functions_are_none(make):
    with pytest.raises(NotApplicable, match="no softmax ran"):
        of(make)


def test_declared_mismatches_are_left_out():
    for name in ("Written", "1"):
        with pytest.raises(NotApplicable):
            of(lambda: Weighing(lambda s: Written.apply(s, -1, 0)), intended=(name,))


def test_the_model_is_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), Exponentials(), Weighing(lambda s: Written.apply(s, -1, 1)))
    before, state = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    softmax_calls(Subject("model", lambda seed: Setup(model, Batch((x,))), fresh=False), BUDGETS["quick"], 0)
    assert all(torch.equal(p, kept) and p.grad is None for p, kept in zip(model.parameters(), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
