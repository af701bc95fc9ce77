"""Gradient norm draws against matrices multiplied by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.architectures.subjects import subject as of_architecture
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import cotangents
from gradcheck_suite.probes.gradient_norm_draws import gradient_norm_draws
from gradcheck_suite.subject import Batch, Setup, Subject

QUICK = BUDGETS["quick"]
CHAIN = Architecture(input_shape=(5,), layers=(layer("dense", units=6), layer("relu"), layer("dense", units=3)), initialization="he-normal")


def test_norms_are_those_of_the_matrices():
    subject = of_architecture(CHAIN)
    seen = gradient_norm_draws(subject, QUICK, 7)
    assert (seen.draws, seen.input_size, seen.output_size, seen.batch) == (8, 5, 3, 4)
    case = derive(7, "draw", 2)
    setup = subject.setup(case)
    first, last = setup.model[0].weight, setup.model[2].weight
    x = setup.batch.args[0][0]
    hidden = first @ x
    u = cotangents([setup.model(setup.batch.args[0])], case)[0][0]
    at_hidden = last.T @ u
    at_input = first.T @ (at_hidden * (hidden > 0))
    assert seen.ratio[2] == pytest.approx(float((at_input @ at_input / (u @ u)).log().detach()))
    assert seen.layer_gradient[2, 1] == pytest.approx(float((at_hidden @ at_hidden / (u @ u)).log().detach()))
    assert seen.layer_signal[2, 0] == pytest.approx(float((hidden @ hidden / (x @ x)).log().detach()))
    assert seen.weight_square[2, 0] == pytest.approx(float(first.square().mean().detach()))
    assert seen.concentration[2] == pytest.approx(float((x**4).sum() / (x @ x) ** 2))
    again = decode(encode(seen))
    np.testing.assert_array_equal(again.layer_gradient_batch, seen.layer_gradient_batch)


def test_dead_draws_are_counted():
    dead = CHAIN.changed(layers=(layer("dense", units=1), layer("relu"), layer("dense", units=3)), batch=1)
    seen = gradient_norm_draws(of_architecture(dead), BUDGETS["standard"], 0)
    assert 0 < seen.dead < 32
    assert seen.dead == np.isneginf(seen.ratio).sum()


def test_an_instance_has_no_draws():
    model = nn.Linear(2, 2)
    with pytest.raises(NotApplicable, match="one instance"):
        gradient_norm_draws(Subject("one", lambda seed: Setup(model, Batch((torch.ones(1, 2),))), fresh=False), QUICK, 0)


def test_layers_that_change_are_not_compared():
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(nn.Sequential(*[nn.Linear(2, 2) for _ in range(1 + seed % 2)]), Batch((torch.ones(1, 2),)))

    with pytest.raises(NotApplicable, match="change"):
        gradient_norm_draws(Subject("changing", setup), BUDGETS["standard"], 0)


class Waiting(nn.Module):
    """A layer that gets no rows on its first batch, from token numbers without a sample axis of floats."""

    def __init__(self):
        super().__init__()
        self.memory, self.layer = nn.Embedding(5, 3), nn.Linear(3, 2)

    def forward(self, ids):
        x = self.memory(ids)
        return torch.cat([self.layer(x[:0]), self.layer(x)])


def test_a_layer_without_rows_stops_nothing():
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(Waiting(), Batch((torch.arange(5),)))

    assert gradient_norm_draws(Subject("waiting", setup), QUICK, 0).draws == 8
