"""Resets: buffers, counters, caches and lists that a forward pass changes."""

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.resets import Resets
from tests.probes.directional_derivative.models import Formula


def test_running_statistics_are_put_back_bit_for_bit():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.named_buffers()}
    resets = Resets(model)
    model(torch.randn(5, 3))
    resets.observe()
    resets.restore()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model[1].num_batches_tracked.item() == 0


def test_attributes_lists_and_new_names():
    def step(module, x):
        module.calls += 1
        module.seen.append(x)
        module.last = x
        return x

    model = Formula(step)
    model.calls, model.seen = 0, []
    kept = model.seen
    resets = Resets(model)
    model(torch.ones(1))
    resets.observe()
    resets.restore()
    assert (model.calls, model.seen, hasattr(model, "last")) == (0, [], False)
    assert model.seen is kept


def test_a_buffer_that_was_replaced_is_the_old_one_again():
    def step(module, x):
        module.mean = 0.5 * module.mean + x.mean()
        return x

    model = Formula(step)
    model.register_buffer("mean", torch.zeros(()))
    old = model.mean
    resets = Resets(model)
    model(torch.ones(2))
    resets.observe()
    resets.restore()
    assert model.mean is old
    assert old.item() == 0.0


def test_only_the_subtree_asked_for():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    resets = Resets(model)
    model(torch.randn(4, 2))
    resets.observe()
    resets.restore(model[0])
    assert model[0].num_batches_tracked.item() == 0
    assert model[1].num_batches_tracked.item() == 1


def test_a_state_can_be_accepted():
    model = nn.BatchNorm1d(2)
    resets = Resets(model)
    model(torch.randn(4, 2))
    resets.observe()
    resets.accept([model])
    model(torch.randn(4, 2))
    resets.restore()
    assert model.num_batches_tracked.item() == 1
