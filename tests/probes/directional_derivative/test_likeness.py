"""Likeness: equal questions share a key, different ones do not."""

import pytest
import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.likeness import Likeness
from tests.probes.directional_derivative.models import Formula, call_of, captured, recorded, sine, subject


def frozen(layer):
    layer.weight.requires_grad_(False)
    return layer


def hooked(layer):
    layer.register_forward_hook(lambda *_: None)
    return layer


def test_equal_layers_are_alike():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    calls, _ = recorded(model, torch.randn(4, 3))
    likeness = Likeness()
    assert likeness.key(call_of(calls, "1")) == likeness.key(call_of(calls, "2"))


@pytest.mark.parametrize("other", [
    nn.Linear(3, 3, bias=False), frozen(nn.Linear(3, 3)), hooked(nn.Linear(3, 3)), nn.Linear(3, 3).eval(), nn.Linear(3, 4), nn.Tanh(),
])
def test_layers_that_differ_are_not(other):
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 3), other)
    calls, _ = recorded(model, torch.randn(4, 3))
    likeness = Likeness()
    assert likeness.key(call_of(calls, "1")) != likeness.key(call_of(calls, "2"))


def test_functions_kept_as_attributes_count():
    model = nn.Sequential(nn.Linear(3, 3), sine(), sine(), Formula(torch.tanh))
    calls, _ = recorded(model[:1], torch.randn(4, 3))
    likeness = Likeness()
    first, second = model[1], model[2]
    pair = nn.Sequential(nn.Linear(3, 3), first, second)
    calls, _ = recorded(pair, torch.randn(4, 3))
    assert likeness.key(call_of(calls, "1")) != likeness.key(call_of(calls, "2"))


def test_one_of_many_stands_for_all():
    def make():
        return nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(3, 3), nn.Tanh())])

    capture = captured(subject(make, torch.randn(4, 3)))
    assert sorted(place.calls for place in capture.places) == [1, 1, 5, 6]
