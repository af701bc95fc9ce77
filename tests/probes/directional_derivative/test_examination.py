"""Examination: confirmation, points nearby, what zeros hide, small errors in weak tensors."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, DISAGREES, NOTHING
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import examine
from gradcheck_suite.probes.directional_derivative.units import ModuleCall
from tests.probes.directional_derivative.models import DOUBLE, Formula, recorded, sine


class Weighted(torch.autograd.Function):
    """x·w, with the gradient of the input tripled, or the gradient of the weight off by a relative amount."""

    @staticmethod
    def forward(ctx, x, w, input_factor, weight_factor):
        ctx.save_for_backward(x, w)
        ctx.factors = input_factor, weight_factor
        return x * w

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        return ctx.factors[0] * gradient * w, ctx.factors[1] * (gradient * x).sum(0), None, None


def examined(model, *inputs, own_code=True):
    calls, around = recorded(model, *inputs)
    unit = ModuleCall(calls[0], around)
    found = examine(unit, Draws(3), ALONE, own_code=own_code)
    unit.close()
    return found


def test_a_wrong_gradient_is_confirmed_with_fresh_draws():
    found = examined(sine(1.01), torch.randn(5, dtype=DOUBLE))
    assert found.status == DISAGREES
    assert found.confirmed >= 1


@pytest.mark.parametrize("point", [torch.zeros(6), torch.tensor([0.0, 1.0, -1.0, 2.0, 0.0, 3.0])])
@pytest.mark.parametrize("function", [
    functional.relu, functional.hardtanh, torch.abs, lambda x: x.norm(), lambda x: functional.relu(x) - functional.relu(-x),
])
def test_on_a_kink_a_point_nearby_decides(function, point):
    found = examined(Formula(lambda _, x: function(x)), point.to(DOUBLE))
    assert found.status == AGREES
    if found.displaced:
        assert found.kinks


def test_a_wrong_gradient_is_found_from_a_kink_as_well():
    class Leaky(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return functional.relu(x)

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.where(ctx.saved_tensors[0] > 0, 1.0, 0.1)

    found = examined(Formula(lambda _, x: Leaky.apply(x)), torch.zeros(6, dtype=DOUBLE))
    assert found.status == DISAGREES
    assert found.displaced


def test_zeros_do_not_hide_a_wrong_gradient():
    model = Formula(lambda m, x: Weighted.apply(x, m.w, 3.0, 1.0), w=nn.Parameter(torch.zeros(4, dtype=DOUBLE)))
    found = examined(model, torch.randn(5, 4, dtype=DOUBLE))
    assert found.status == DISAGREES
    assert "zeros" in found.displaced


def test_zeros_alone_are_no_reason():
    model = Formula(lambda m, x: Weighted.apply(x, m.w, 1.0, 1.0), w=nn.Parameter(torch.zeros(4, dtype=DOUBLE)))
    found = examined(model, torch.randn(5, 4, dtype=DOUBLE))
    assert found.status == AGREES
    assert model.w.abs().max() == 0


def test_one_part_in_a_hundred_thousand_of_a_weak_tensor():
    model = Formula(lambda m, x: Weighted.apply(x, m.w, 1.0, 1 + 1e-5), w=nn.Parameter(1e-3 * torch.rand(4, dtype=DOUBLE) + 1.0))
    assert examined(model, 1e-4 * torch.randn(5, 4, dtype=DOUBLE)).status == DISAGREES


def test_offsets_and_entries_of_very_different_sizes():
    assert examined(nn.LayerNorm(4).to(DOUBLE), 1e4 + torch.randn(5, 4, dtype=DOUBLE), own_code=False).status == AGREES
    assert examined(nn.Tanh(), torch.logspace(-3, 4, 40, dtype=DOUBLE), own_code=False).status == AGREES


def test_nothing_to_compare():
    assert examined(nn.Tanh(), torch.zeros(0, 3, dtype=DOUBLE)).status == NOTHING
    assert examined(nn.Tanh(), torch.full((3,), float("nan"), dtype=DOUBLE)).status in (NOTHING, AGREES)


def test_plain_data_that_no_gradient_reaches_is_left_alone():
    model = Formula(lambda m, x, mask: m.part(x) * (mask > 0.5), part=nn.Linear(3, 2)).to(DOUBLE)
    found = examined(model, torch.randn(4, 3, dtype=DOUBLE), torch.tensor([0.5, 1.0], dtype=DOUBLE))
    assert found.status == AGREES
    assert not found.kinks


def test_parameters_are_back_in_place_afterwards():
    model = nn.Linear(3, 2).to(DOUBLE)
    parameters = list(model.parameters())
    before = [(p.data_ptr(), p.detach().clone()) for p in parameters]
    examined(nn.Sequential(model, nn.ReLU()), torch.zeros(4, 3, dtype=DOUBLE))
    assert all(p.data_ptr() == place and torch.equal(p, kept) for p, (place, kept) in zip(parameters, before, strict=True))
