"""Blame: only the deepest places, declared mismatches, calls that were spared."""

import pytest
import torch
from torch import nn

from tests.probes.directional_derivative.models import Formula, blamed, captured, sine, subject


class Straight(torch.autograd.Function):
    """Rounding, with the gradient passed straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def nested(factor):
    inner = nn.Sequential(nn.Linear(4, 4), sine(factor))
    return nn.Sequential(nn.Linear(3, 4), Formula(lambda m, x: x + m.inner(x), inner=inner), nn.Linear(4, 2))


def test_only_the_deepest_place_is_blamed():
    capture = captured(subject(lambda: nested(0.9), torch.randn(5, 3)))
    assert blamed(capture) == ["1.inner.1"]
    assert capture.places[-1].status == "disagrees"
    (place,) = (place for place in capture.places if place.blamed)
    assert place.function == "Scaled"
    assert "models.py:" in place.source
    assert place.ruled_out


@pytest.mark.parametrize("factor", [1.01, 0.5, -1.0, 1 + 1e-4])
def test_every_wrong_layer_is_blamed(factor):
    def make():
        return nn.Sequential(nn.Linear(3, 4), sine(factor), nn.Linear(4, 4), sine(1.0), nn.Linear(4, 4), sine(factor), nn.Linear(4, 2))

    assert blamed(captured(subject(make, torch.randn(5, 3)))) == ["1", "5"]


def model():
    return nn.Sequential(nn.Linear(3, 4), Formula(lambda _, x: Straight.apply(x)), nn.Linear(4, 2))


def test_a_surrogate_is_wrong_unless_it_is_declared():
    assert blamed(captured(subject(model, torch.randn(5, 3)))) == ["1"]


@pytest.mark.parametrize("name", ["1", "Straight"])
def test_a_declaration_by_path_or_by_function(name):
    capture = captured(subject(model, torch.randn(5, 3), intended={name: "straight-through"}))
    assert blamed(capture) == []
    assert [place.module for place in capture.places if place.intended] == ["1"]
    assert capture.stale == ()


def test_a_declaration_that_matches_nothing_is_stale():
    capture = captured(subject(lambda: nested(1.0), torch.randn(5, 3), intended={"1": "once needed"}))
    assert capture.stale == (("1", "once needed"),)


def test_what_pytorch_defines_itself_may_be_declared():
    def make():
        return nn.Sequential(nn.Embedding(5, 4, padding_idx=0), nn.Linear(4, 2))

    capture = captured(subject(make, torch.tensor([[0, 1, 2]]), intended={"0": "the padding row is not trained"}))
    assert blamed(capture) == []
    assert capture.stale == ()


def test_a_declared_stop_of_the_model_itself():
    def forward(module, x):
        first, second = module.part(x[:2]), module.part(x[2:])
        return (first - second.detach()) ** 2

    made = subject(lambda: Formula(forward, part=nn.Linear(3, 4)), torch.randn(4, 3), intended={"": "stop-gradient"})
    assert blamed(captured(made)) == []


def test_spared_calls_are_examined_where_the_whole_disagrees():
    class Late(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.tanh(x)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient * (1 - torch.tanh(x) ** 2) * (0.5 if x.abs().max() > 5 else 1.0)

    def act(_, x):
        return Late.apply(x)

    def make():
        steep = nn.Linear(4, 4)
        steep.weight.data.mul_(20)
        return nn.Sequential(nn.Linear(3, 4), Formula(act), nn.Linear(4, 4), Formula(act), steep, Formula(act), nn.Linear(4, 2))

    assert blamed(captured(subject(make, 0.3 * torch.randn(5, 3)))) == ["5"]


def test_operations_right_in_their_place_are_not_blamed():
    def loss(output, targets):
        return nn.functional.ctc_loss(output, torch.tensor([[1, 2], [3, 1]]), torch.tensor([6, 5]), torch.tensor([2, 2]))

    capture = captured(subject(lambda: nn.Sequential(nn.Linear(3, 5), nn.LogSoftmax(-1)), torch.randn(6, 2, 3), loss=loss))
    assert blamed(capture) == []
    assert any("in the whole model" in note for place in capture.places for note in place.note)


def test_an_operation_of_pytorch_that_is_wrong_in_its_place_is_blamed():
    def scatter(module, x):
        return torch.ones(3, x.shape[1], dtype=x.dtype).scatter_reduce(0, torch.tensor([[0, 1, 0]]), x, "prod")

    capture = captured(subject(lambda: nn.Sequential(nn.Linear(2, 3), nn.Softplus(), Formula(scatter), nn.Linear(3, 2)), torch.randn(2, 2)))
    assert blamed(capture) in (["2"], [])
    assert (capture.places[-1].status == "disagrees") == (blamed(capture) == ["2"])
