"""The state guard gives back every bit."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.probes.state import preserved


class Counting(nn.Module):
    """A model that changes everything it can: counter, cache, buffer, unregistered tensor, generators."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.own = [torch.Generator(), random.Random(3), np.random.default_rng(4), np.random.RandomState(5)]
        self.torch_own, self.python_own, self.numpy_own, self.legacy_own = self.own
        self.calls, self.cache, self.loose = 0, {"first": 1}, torch.tensor([0.0, -0.0, float("nan")])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.cache[str(self.calls)] = self.calls
        self.loose += 1
        torch.rand(1, generator=self.torch_own)
        self.python_own.random()
        self.numpy_own.random()
        self.legacy_own.rand()
        random.random()
        np.random.rand()
        return self.norm(self.linear(x)) + torch.rand(3)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def fingerprint(model: Counting) -> list[object]:
    tensors = [*model.parameters(), *model.buffers(), model.loose]
    grads = [None if p.grad is None else bits(p.grad) for p in model.parameters()]
    flags = [p.requires_grad for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    process = [bits(torch.get_rng_state()), random.getstate(), np.random.get_state()[1].tobytes(), torch.get_default_dtype()]
    own = [bits(model.torch_own.get_state()), model.python_own.getstate(), str(model.numpy_own.bit_generator.state),
           model.legacy_own.get_state()[1].tobytes(), model.legacy_own.get_state()[2]]
    values = [(bits(t), t.data_ptr()) for t in tensors]
    return [values, grads, flags, modes, hooks, model.calls, dict(model.cache), process, own]


def disturb(model: Counting) -> None:
    model(torch.randn(4, 3)).sum().backward()
    model.norm.eval()
    model.linear.weight.requires_grad_(False)
    model.linear.register_forward_hook(lambda *_: None)
    model.double()
    torch.set_default_dtype(torch.float64)
    torch.optim.SGD(model.norm.parameters(), lr=1.0).step()
    model.linear.bias = nn.Parameter(torch.zeros(3))
    torch.set_grad_enabled(False)


def stopping(model: Counting) -> None:
    disturb(model)
    raise RuntimeError("stop")


def test_everything_is_restored_after_an_exception_too() -> None:
    model = Counting()
    model(torch.randn(4, 3)).sum().backward()
    weight, grad = model.linear.weight, model.linear.weight.grad
    before = fingerprint(model)
    with preserved(model):
        disturb(model)
    assert fingerprint(model) == before
    with pytest.raises(RuntimeError, match="stop"), preserved(model):
        stopping(model)
    assert fingerprint(model) == before
    assert model.linear.weight is weight
    assert weight.grad is grad
    assert torch.is_grad_enabled()


def test_the_guard_is_what_restores() -> None:
    model = Counting()
    before = fingerprint(model)
    disturb(model)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    assert fingerprint(model) != before


def test_a_graph_that_the_caller_holds_stays_usable() -> None:
    model = nn.Linear(3, 2)
    loss = (model(torch.randn(4, 3)) ** 2).sum()
    with preserved(model), torch.no_grad():
        model.weight.data.add_(1.0)
    loss.backward()
    assert model.weight.grad is not None


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with preserved(model):
        model.double()
    assert model[1].weight is model[0].weight
    assert model[0].weight.dtype == torch.float32
