"""The float64 twin: built, converted, lifted or not; and every bit of an instance put back."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.twin import realised
from gradcheck_suite.targets import subject_of
from tests.probes.directional_derivative.models import Formula, captured, statuses, subject


def test_a_float32_factory_is_built_in_float64():
    made = subject(lambda: Formula(lambda m, x: m.part(x) + torch.zeros(4), part=nn.Linear(3, 4)), torch.randn(5, 3))
    with realised(made, 0) as (setup, converted):
        assert torch.get_default_dtype() == torch.float64
        assert setup.model.part.weight.dtype == torch.float64
        assert setup.batch.args[0].dtype == torch.float64
        assert converted is False
    assert torch.get_default_dtype() == torch.float32


def test_a_factory_that_only_builds_in_its_own_precision_is_converted():
    def make():
        nn.Linear(3, 4)(torch.randn(5, 3).float())
        return {"model": nn.Linear(3, 4), "inputs": torch.randn(5, 3)}

    with realised(subject_of(make, name="own"), 0) as (setup, converted):
        assert setup.model.weight.dtype == torch.float64
        assert converted is True


def test_what_is_left_narrow_is_converted():
    with realised(subject(lambda: nn.Linear(3, 4).to(torch.bfloat16), torch.randn(5, 3)), 0) as (setup, converted):
        assert setup.model.weight.dtype == torch.float64
        assert converted is True


def snapshot(model):
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "bits": [(t.dtype, t.data_ptr(), t.detach().clone()) for t in tensors],
        "needs": [t.requires_grad for t in tensors],
        "grads": [(t.grad, None if t.grad is None else t.grad.clone()) for t in tensors],
        "modes": [m.training for m in model.modules()],
        "hooks": [(list(m._forward_hooks), list(m._backward_hooks)) for m in model.modules()],
        "attributes": [dict(vars(m)) for m in model.modules()],
        "process": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), torch.get_default_dtype()),
    }


def same(before, after):
    bits = all(a[:2] == b[:2] and torch.equal(a[2], b[2]) for a, b in zip(before["bits"], after["bits"], strict=True))
    grads = all(a[0] is b[0] and (a[1] is None or torch.equal(a[1], b[1])) for a, b in zip(before["grads"], after["grads"], strict=True))
    pairs = zip(before["attributes"], after["attributes"], strict=True)
    attributes = all(a.keys() == b.keys() and all(a[k] is b[k] for k in a) for a, b in pairs)
    process = torch.equal(before["process"][0], after["process"][0]) and before["process"][1] == after["process"][1]
    process = process and np.array_equal(before["process"][2], after["process"][2]) and before["process"][3] == after["process"][3]
    return bits and grads and attributes and process and all(before[k] == after[k] for k in ("needs", "modes", "hooks"))


def untidy(module, x):
    module.calls = getattr(module, "calls", 0) + 1
    module.history.append(x)
    module.part.weight.data.mul_(0.99)
    return module.part(x) * random.random() * np.random.rand()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wrong", [False, True])
def test_an_instance_gets_every_bit_back(dtype, wrong):
    layer = Formula(untidy, part=nn.Linear(4, 4))
    layer.history = []
    last = nn.utils.spectral_norm(nn.Linear(4, 2))
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), layer, nn.ReLU(inplace=True), last).to(dtype)
    x = torch.randn(5, 3, dtype=dtype)
    model(x).sum().backward()
    model[0].bias.grad = None
    model[3].part.bias.requires_grad_(False)
    model[1].eval()
    if wrong:
        model[0].weight.register_hook(lambda gradient: 0.5 * gradient)
    before, kept = snapshot(model), x.clone()
    capture = captured(subject(lambda: model, x, fresh=False))
    assert any(place.blamed for place in capture.places) or not wrong
    torch.manual_seed(0)
    assert same({**before, "process": snapshot(model)["process"]}, snapshot(model))
    assert torch.equal(x, kept)


def test_the_process_is_left_as_it_was():
    made = subject(lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout()), torch.randn(5, 3))
    state, python, legacy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    captured(made)
    assert torch.equal(state, torch.get_rng_state())
    assert python == random.getstate()
    assert np.array_equal(legacy, np.random.get_state()[1])
    assert torch.backends.mha.get_fastpath_enabled()


def test_narrow_types_written_out_are_left_out_where_nothing_is_resolved_with_them():
    def make():
        return nn.Sequential(nn.Linear(3, 4), Formula(lambda _, x: torch.softmax(x.float(), -1).to(x.dtype)))

    capture = captured(subject(make, torch.randn(5, 3)))
    assert statuses(capture) == {"agrees"}
    (place,) = (place for place in capture.places if place.module == "1")
    assert place.lifted
    assert any("precision bottleneck" in note or "narrower type" in note for note in place.note)


def test_a_model_that_mixes_types_runs_lifted():
    def make():
        return Formula(lambda m, x: m.part(x) @ torch.ones(4, 2, dtype=torch.float32), part=nn.Linear(3, 4))

    capture = captured(subject(make, torch.randn(5, 3)))
    assert statuses(capture) == {"agrees"}
    assert "left out" in capture.notes[0]


def test_a_model_that_runs_in_its_own_precision_only():
    def forward(module, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return torch.tanh(module.part(x))

    capture = captured(subject(lambda: Formula(forward, part=nn.Linear(3, 4)), torch.randn(5, 3)))
    assert "own precision" in capture.notes[0]
    assert statuses(capture) <= {"agrees", "noise"}
