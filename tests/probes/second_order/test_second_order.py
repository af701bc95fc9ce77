import dataclasses

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gradcheck_suite.captures import codec
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.second_order import second_order

from ..configuration_sweep.specimens import subject

STANDARD = BUDGETS["standard"]


class Cube(Function):
    """``x³`` from its input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


class Detached(Cube):
    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0].detach() ** 2 * g


class NoGraph(Cube):
    @staticmethod
    def backward(ctx, g):
        with torch.no_grad():
            return Cube.backward(ctx, g)


class Once(Cube):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return Cube.backward(ctx, g)


class Kept(Function):
    """Saves an intermediate result, which has no history when the backward pass is differentiated."""

    @staticmethod
    def forward(ctx, x):
        square = x * x
        ctx.save_for_backward(square)
        return square * x

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] * g


class AtZeros(Cube):
    """Right but where two entries of a row are zero: there the gradient is a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.prod(1, keepdim=True)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        full = g * torch.stack([torch.cat([x[:, :j], x[:, j + 1 :]], 1).prod(1) for j in range(x.shape[1])], 1)
        return torch.where((x == 0).sum(1, keepdim=True) >= 2, torch.zeros_like(full), full)


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def found(*functions, budget=STANDARD, **facts):
    layers = [layer for function in functions for layer in (nn.Linear(3, 3), Apply(function))]
    torch.manual_seed(0)
    return second_order(subject(*layers, **facts), budget, 0)


@pytest.mark.parametrize("function", [Detached, NoGraph, Kept])
def test_a_wrong_second_derivative_is_found_with_its_function(function):
    (place,) = found(function).places
    assert place.status == "disagrees"
    assert place.module == "1"
    assert place.place.function == function.__name__
    assert codec.encode(codec.decode(codec.encode(place))) == codec.encode(place)


def test_a_gradient_without_a_graph_is_called_so():
    (place,) = found(NoGraph).places
    assert any("carries no graph" in note for note in place.place.note)


def test_of_two_functions_the_wrong_one_is_named():
    places = {place.module: place.status for place in found(Cube, Detached).places}
    assert places == {"1": "agrees", "3": "disagrees"}


def test_a_right_second_derivative_agrees_in_several_configurations():
    (place,) = found(Cube).places
    assert place.status == "agrees"
    assert place.tried > 5


def test_what_is_differentiable_once_promises_nothing():
    (place,) = found(Once).places
    assert place.status == "promises none"


def test_zeros_are_tried_and_the_change_is_named():
    (place,) = second_order(subject(Apply(AtZeros), x=torch.rand(3, 4, dtype=torch.float64) + 0.5), STANDARD, 0).places
    assert place.status == "disagrees"
    assert place.changes[0][0] == "zeros"
    (place,) = second_order(subject(Apply(AtZeros), x=torch.tensor([[0.0, 0.0, 2.0, 3.0]], dtype=torch.float64)), STANDARD, 0).places
    assert place.status == "disagrees"
    assert not place.changes


def test_a_declared_mismatch_carries_its_reason():
    (place,) = found(Detached, intended={"Detached": "first order only"}).places
    assert place.intended == "first order only"


def test_without_a_custom_function_only_a_thorough_budget_compares():
    made = subject(nn.Linear(3, 3), nn.Tanh(), nn.ReLU(), nn.Softplus())
    with pytest.raises(NotApplicable, match="no custom Function"):
        second_order(made, STANDARD, 0)
    capture = second_order(made, dataclasses.replace(STANDARD, second_order=True), 0)
    assert capture.everything
    assert [place.status for place in capture.places] == ["agrees"] * 4
