"""Generators: every kind read, compared and put back."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.generators import Generators, sources


def holder(generator):
    module = nn.Identity()
    module.generator = generator
    return module


MOVES = {"torch": lambda: torch.rand(1), "python": random.random, "numpy": np.random.rand}


@pytest.mark.parametrize("kind", MOVES)
def test_a_global_generator_that_moves_is_found_and_put_back(kind):
    draw = MOVES[kind]
    every = Generators(sources([]))
    states = every.read()
    first = draw()
    moved, before = every.moved_since(states)
    assert len(moved.sources) == 1
    moved.write(before)
    assert draw() == first
    every.write(states)


@pytest.mark.parametrize(("generator", "draw"), [
    (torch.Generator().manual_seed(1), lambda g: torch.rand(1, generator=g).item()),
    (random.Random(1), lambda g: g.random()),
    (np.random.default_rng(1), lambda g: g.random()),
])
def test_generators_that_modules_hold(generator, draw):
    every = Generators(sources([holder(generator)]))
    states = every.read()
    first = draw(generator)
    assert len(every.moved_since(states)[0].sources) == 1
    every.write(states)
    assert draw(generator) == first


def test_nothing_moved():
    every = Generators(sources([]))
    assert not every.moved_since(every.read())[0].sources
