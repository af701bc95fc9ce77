"""Attention alone: identities over random layers, masks that leak."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.attention_calls import attention_calls
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53


class SelfAttention(nn.Module):
    def __init__(self, mask=None, batch_first=True, scale=1.0, width=8, heads=2):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        nn.init.normal_(self.attention.in_proj_bias)
        nn.init.normal_(self.attention.in_proj_weight, std=scale / math.sqrt(width))
        self.mask = mask

    def forward(self, x):
        return self.attention(x, x, x, attn_mask=self.mask, need_weights=False)[0]


def capture(make, x):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((x,)))

    return attention_calls(Subject("model", setup), BUDGETS["quick"], 1)


def seeded(seed, make):
    torch.manual_seed(seed)
    return make()


def triangle(length, shift=1):
    return torch.ones(length, length, dtype=torch.bool).triu(shift)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_identities_hold_to_rounding(batch_first, scale):
    torch.manual_seed(0)
    seen = capture(lambda: SelfAttention(batch_first=batch_first, scale=scale), torch.randn(4, 9, 8))
    assert seen.paths == ("attention",)
    assert seen.key_bias[0] <= 128 * ROUNDOFF
    assert seen.value_sum[0] <= 32 * ROUNDOFF
    assert seen.forbidden.tolist() == [0]
    assert seen.positions.tolist() == [9 if batch_first else 4]
    np.testing.assert_array_equal(decode(encode(seen)).key_bias, seen.key_bias)


def test_cotangents_that_cancel_in_the_biases_are_no_residual():
    seen = [capture(lambda seed=seed: seeded(seed, lambda: SelfAttention(width=1, heads=1)), torch.randn(8, 6, 1)) for seed in range(40)]
    assert max(one.value_sum[0] for one in seen) <= 16 * ROUNDOFF


@pytest.mark.parametrize("mask", [triangle(6), torch.zeros(6, 6).masked_fill(triangle(6), -math.inf)])
def test_a_right_mask_lets_nothing_through(mask):
    seen = capture(lambda: SelfAttention(mask), torch.randn(2, 6, 8))
    assert (seen.forbidden.tolist(), seen.leaks.tolist()) == ([15], [0])


class Residue(SelfAttention):
    """Adds what the mask forbids behind the attention, inside the attention module itself."""

    def __init__(self):
        super().__init__(triangle(6))
        inner = self.attention
        original = inner.forward

        def forward(query, *args, **kwargs):
            output, weights = original(query, *args, **kwargs)
            return output + 1e-9 * query.mean(1, keepdim=True), weights

        inner.forward = forward


def test_a_leak_of_a_billionth_is_counted():
    seen = capture(Residue, torch.randn(2, 6, 8))
    assert seen.leaks.tolist() == [15]


def test_models_without_attention_are_not_judged():
    with pytest.raises(NotApplicable, match="no multi-head attention"):
        capture(lambda: nn.Linear(8, 8), torch.randn(2, 6, 8))
