"""Localisation: which tensor, which entry, which pattern."""

import pytest
import torch
from torch import nn

from gradcheck_suite.captures.directional_derivative import TensorComparison
from tests.probes.directional_derivative.models import DOUBLE, Formula, captured, subject


class Off(torch.autograd.Function):
    """x·wᵀ, with a change of the weight's gradient."""

    @staticmethod
    def forward(ctx, x, w, change):
        ctx.save_for_backward(x, w)
        ctx.change = change
        return x @ w.T

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return gradient @ w, ctx.change(gradient.T @ x), None


def layer(change, rows=4, columns=4):
    return Formula(lambda m, x: Off.apply(x, m.weight, change), weight=nn.Parameter(torch.randn(rows, columns, dtype=DOUBLE)))


def worst(change, rows=4, columns=4) -> TensorComparison:
    def make():
        return nn.Sequential(nn.Linear(3, columns), nn.Tanh(), layer(change, rows, columns))

    capture = captured(subject(make, torch.randn(5, 3)))
    (place,) = (place for place in capture.places if place.blamed)
    assert place.module == "2"
    assert [part.name for part in place.breakdown] == ["weight"]
    return place.breakdown[0]


def one_entry(rows, columns):
    def change(gradient):
        gradient = gradient.clone()
        gradient[rows, columns] *= 1.5
        return gradient

    return change


def test_the_tensor_and_its_error():
    found = worst(lambda g: 0.9 * g)
    assert (found.name, found.role) == ("weight", "parameter")
    assert found.analytic / found.numeric == pytest.approx(0.9)
    assert abs(found.analytic - found.numeric) > found.error
    assert "0.9 times the derivative" in found.pattern


def test_the_worst_entry_of_a_small_tensor():
    found = worst(one_entry(2, 1))
    assert found.entry == (2, 1)
    assert found.entry_analytic / found.entry_numeric == pytest.approx(1.5)
    assert "one entry, [2, 1]" in found.pattern


def test_bisection_finds_the_entry_of_a_large_tensor():
    found = worst(one_entry(37, 11), 64, 24)
    assert found.entry == (37, 11)
    assert found.entry_analytic / found.entry_numeric == pytest.approx(1.5)


def test_a_transposed_gradient():
    assert worst(lambda g: g.T).pattern == "transposed"


def test_a_gradient_that_is_missing():
    found = worst(lambda g: None)
    assert found.pattern == "no gradient arrives (None)"
    assert found.analytic == 0.0
