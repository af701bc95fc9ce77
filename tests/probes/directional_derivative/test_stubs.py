"""Stubs: exact at the recorded point, affine around it, faithful to what carried a gradient."""

import pytest
import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.stubs import Stub
from gradcheck_suite.probes.directional_derivative.trees import Tree
from tests.probes.directional_derivative.models import DOUBLE, Formula, call_of, recorded


def stub_of(model, *inputs, path=""):
    calls, _ = recorded(model, *inputs)
    call = call_of(calls, path)
    return Stub(call, call.output, Draws(2)), call


def test_the_recorded_output_at_the_recorded_input():
    x = torch.randn(4, 3, dtype=DOUBLE)
    stub, call = stub_of(nn.Linear(3, 2).to(DOUBLE), x)
    assert torch.equal(stub(Tree((x,))), call.output.leaves[0])


def test_affine_and_differentiable():
    x = torch.randn(4, 3, dtype=DOUBLE)
    stub, call = stub_of(nn.Linear(3, 2).to(DOUBLE), x)
    base, step = call.output.leaves[0], torch.randn(4, 3, dtype=DOUBLE)
    one, two = (stub(Tree((x + factor * step,))) - base for factor in (1, 2))
    torch.testing.assert_close(2 * one, two)
    assert one.abs().max() > 0
    moving = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stub(Tree((moving,))).sum(), moving)
    torch.testing.assert_close((gradient * step).sum(), one.sum())


def test_outputs_without_a_gradient_stay_constants():
    model = Formula(lambda m, x: (x * m.scale, (x * m.scale).detach()), scale=nn.Parameter(torch.ones(3, dtype=DOUBLE)))
    x = torch.randn(2, 3, dtype=DOUBLE)
    stub, call = stub_of(model, x)
    live, constant = stub(Tree((x + 1,)))
    assert torch.equal(constant, call.output.leaves[1])
    assert not torch.equal(live, call.output.leaves[0])


def test_no_entry_leaves_the_positive_side():
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=DOUBLE, requires_grad=True)
    stub, _ = stub_of(nn.ReLU(), x)
    assert torch.equal(stub(Tree((x - 1,)))[:2], torch.zeros(2, dtype=DOUBLE))


def test_inputs_are_matched_by_path_where_their_number_differs():
    model = Formula(lambda m, x, past: x * m.scale, scale=nn.Parameter(torch.ones(2, dtype=DOUBLE)))
    x = torch.ones(2, dtype=DOUBLE)
    stub, call = stub_of(model, x, {"old": torch.ones(2, dtype=DOUBLE)})
    assert torch.equal(stub(Tree((x, {}))), call.output.leaves[0])


def test_distance_is_infinite_where_shapes_differ():
    x = torch.ones(2, dtype=DOUBLE)
    stub, _ = stub_of(nn.Tanh(), x)
    assert stub.distance(Tree((x,))) == 0.0
    assert stub.distance(Tree((torch.ones(3, dtype=DOUBLE),))) == float("inf")


def test_displaced_and_put_back():
    x = torch.randn(4, dtype=DOUBLE)
    stub, call = stub_of(nn.Tanh(), x)
    stub.displace(1e-2)
    assert not torch.equal(stub(Tree((x,))), call.output.leaves[0])
    stub.replace()
    assert torch.equal(stub(Tree((x,))), call.output.leaves[0])


def test_lifted_outputs_are_in_double_precision():
    calls, _ = recorded(nn.Linear(3, 2), torch.randn(2, 3))
    made = Stub(calls[0], calls[0].output, Draws(0), lifted=True)
    assert made(Tree((torch.randn(2, 3, dtype=DOUBLE),))).dtype == DOUBLE
    with pytest.raises(RuntimeError):
        Stub(calls[0], calls[0].output, Draws(0))(Tree((torch.randn(2, 3, dtype=DOUBLE),)))
