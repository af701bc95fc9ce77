"""What a forward pass changes, seen; and what it may change, not held against it."""

import random

import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.forward_effects import BUFFER, GENERATOR, INPUT, PARAMETER, REGISTRY, SETTING
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.forward_effects import forward_effects
from gradcheck_suite.subject import Batch, Setup, Subject


class Does(nn.Module):
    """A layer whose forward pass does something besides."""

    def __init__(self, deed):
        super().__init__()
        self.linear, self.deed = nn.Linear(3, 3), deed
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        y = self.linear(x)
        self.deed(self, x)
        return y


def effects(model, **batch):
    made = Setup(model=model, batch=Batch((torch.ones(2, 3),), **batch))
    return forward_effects(Subject("s", lambda seed: made), BUDGETS["quick"], 7)


@pytest.mark.parametrize(("deed", "kind", "name"), [
    (lambda module, x: module.linear.weight.data.add_(1), PARAMETER, "weight"),
    (lambda module, x: module.count.add_(1), BUFFER, "count"),
    (lambda module, x: x.data.mul_(2), INPUT, "input 0"),
    (lambda module, x: torch.manual_seed(3), GENERATOR, "torch"),
    (lambda module, x: random.seed(3), GENERATOR, "random"),
    (lambda module, x: torch.set_default_dtype(torch.float16), SETTING, "default dtype"),
    (lambda module, x: torch.set_num_threads(torch.get_num_threads() + 1), SETTING, "number of threads"),
    (lambda module, x: module.register_forward_hook(lambda *_: None), REGISTRY, "hooks"),
    (lambda module, x: module.register_parameter(f"p{len(module._parameters)}", nn.Parameter(x.detach())), REGISTRY, "parameters"),
    (lambda module, x: module.linear.weight.requires_grad_(False), REGISTRY, "requires_grad"),
    (lambda module, x: module.linear.eval(), REGISTRY, "training"),
    (lambda module, x: module.linear(x.detach()).sum().backward(), REGISTRY, "gradients"),
])
def test_a_deed_is_seen_and_undone(deed, kind, name):
    threads = torch.get_num_threads()
    model = Does(deed)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        found = effects(model)
    finally:
        torch.set_num_threads(threads)
    assert name in {effect.name for effect in found.of(kind)}
    assert {key: torch.equal(before[key], value) for key, value in model.state_dict().items()} == dict.fromkeys(before, True)
    assert decode(encode(found)) == found


def test_drawing_from_a_generator_is_no_effect():
    found = effects(Does(lambda module, x: (torch.rand(3), random.random())))
    assert found.effects == ()


def test_batch_normalisation_moves_its_statistics_in_train_mode_only():
    found = effects(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout()))
    assert {effect.name for effect in found.of(BUFFER)} == {"running_mean", "running_var", "num_batches_tracked"}
    assert found.of(BUFFER, ("eval",)) == ()
    assert found.of(PARAMETER) == ()


def test_everything_compared_is_counted():
    found = effects(nn.Linear(3, 4))
    assert [found.count(kind) for kind in (PARAMETER, BUFFER, INPUT)] == [2, 0, 1]
    assert found.modes == ("train", "eval")


def test_a_model_that_raises_in_eval_mode_only_is_told():
    class OnlyTrains(nn.Linear):
        def forward(self, x):
            if not self.training:
                raise RuntimeError("no eval today")
            return super().forward(x)

    ((mode, text),) = effects(OnlyTrains(3, 4)).failed
    assert mode == "eval"
    assert "no eval today" in text


def test_a_model_that_raises_in_its_own_mode_is_an_error():
    with pytest.raises(SubjectError):
        effects(nn.Linear(9, 4))
