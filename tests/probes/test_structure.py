"""Structure: what is a plain chain, and what is not and why."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.structure import structure
from gradcheck_suite.subject import Batch, Setup, Subject


def capture(make, *inputs):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch(inputs))

    return structure(Subject("model", setup), BUDGETS["quick"], 0)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return self.second(functional.leaky_relu(self.first(x), 0.2))


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.inner(x)


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("stop here")


def tied():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer)


def hooked():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model[0].register_forward_hook(lambda _, __, output: output * 2)
    return model


def test_functional_activations_are_links():
    seen = capture(Functional, torch.randn(5, 3))
    assert seen.outside == ""
    assert [unit.kind for unit in seen.chain] == ["dense", "leaky_relu", "dense"]
    assert seen.chain[1].slope == 0.2
    assert [(unit.fan_in, unit.fan_out, unit.bias) for unit in seen.weights] == [(3, 4, "absent"), (4, 2, "zero")]
    assert (seen.parameters, seen.trainable, seen.dtype) == (22, 22, "float32")
    assert decode(encode(seen)) == seen


def test_convolution_pooling_and_flatten():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2), nn.Dropout())
    seen = capture(model.eval, torch.randn(2, 2, 4, 4))
    assert [unit.kind for unit in seen.chain] == ["conv2d", "relu", "max_pool", "flatten", "dense", "identity"]
    convolution = seen.chain[0]
    assert (convolution.fan_in, convolution.fan_out) == (9, 36)
    assert dict(convolution.settings)["groups"] == 2
    assert convolution.output_shape == (4, 4, 4)
    assert seen.order == ("0", "1", "2", "3", "4", "5")


@pytest.mark.parametrize(("make", "fact"), [
    (Skip, "add in the model is not a known step"),
    (tied, "weight of module 0 is used more than once"),
    (lambda: nn.GRU(3, 3), "the model is a GRU"),
])
def test_what_is_not_a_chain_is_told_as_a_fact(make, fact):
    seen = capture(make, torch.randn(5, 3))
    assert seen.chain == ()
    assert fact in seen.outside


def test_hooks_and_frozen_weights_are_not_plain():
    assert [unit.plain for unit in capture(hooked, torch.randn(5, 3)).chain] == [False, True]
    frozen = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Tanh())
    assert [unit.plain for unit in capture(lambda: frozen, torch.randn(5, 3)).chain] == [False, True]


def test_a_failing_model_is_named():
    with pytest.raises(SubjectError, match="stop here") as caught:
        capture(lambda: nn.Sequential(nn.Linear(3, 3), Failing()), torch.randn(5, 3))
    assert caught.value.stage == "forward"
    assert caught.value.module == "1"
