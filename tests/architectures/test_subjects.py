import random

import numpy as np
import torch

from gradcheck_suite.architectures.build import build, make_batch
from gradcheck_suite.architectures.subjects import subject, title
from gradcheck_suite.core.architecture import Architecture, layer

DENSE = Architecture(input_shape=(3,), layers=(layer("dense", units=4), layer("dropout"), layer("dense", units=2)), loss="mse")


def test_a_setup_is_what_build_and_make_batch_give():
    setup = subject(DENSE).setup(7)
    expected = make_batch(DENSE, 7)
    assert all(torch.equal(a, b) for a, b in zip(setup.model.parameters(), build(DENSE, 7).parameters(), strict=True))
    assert torch.equal(setup.batch.args[0], expected.args[0])
    assert torch.equal(setup.batch.targets, expected.targets)
    assert setup.loss(setup.model(*setup.batch.args), setup.batch.targets).dim() == 0
    assert isinstance(setup.optimizer(setup.model.parameters()), torch.optim.SGD)


def test_a_setup_seeds_every_global_generator_and_is_fresh():
    made = subject(DENSE)
    draws, models = [], []
    for _ in range(2):
        setup = made.setup(11)
        models.append(setup.model)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item(), setup.model(*setup.batch.args).sum().item()))
    assert draws[0] == draws[1]
    assert models[0] is not models[1]
    assert made.fresh
    assert made.architecture is DENSE


def test_inputs_and_weights_are_drawn_apart():
    setup = subject(DENSE.changed(initialization="lecun-normal", batch=4)).setup(0)
    weights = setup.model[0].weight.flatten() * 3**0.5
    assert not torch.isclose(setup.batch.args[0].flatten(), weights).any()


def test_without_a_loss_there_are_no_targets_and_without_parameters_no_optimizer():
    setup = subject(DENSE.changed(loss="", layers=(layer("relu"),))).setup(0)
    assert setup.loss is None
    assert setup.batch.targets is None
    assert setup.optimizer is None


def test_titles_are_short_and_tell_architectures_apart():
    long = DENSE.changed(layers=(layer("dense", units=4), layer("relu")) * 20)
    assert title(long).startswith("dense-relu-dense-relu-(33 more)-relu-dense-relu ")
    assert len({title(long.changed(batch=batch)) for batch in range(1, 9)}) == 8
    assert subject(long, name="mine").name == "mine"
