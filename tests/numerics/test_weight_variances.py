"""Declared variances and their bands against draws of torch's own initialisations."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.architectures.initializations import INITIALIZATIONS
from gradcheck_suite.numerics.weight_variances import TRUNCATION, EntryLaw, entry_law


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_variances_are_those_that_torch_draws(name):
    torch.manual_seed(0)
    inside = 0
    for _ in range(60):
        layer = nn.Linear(40, 30).double()
        if INITIALIZATIONS[name] is not None:
            INITIALIZATIONS[name](layer.weight.data)
        law = entry_law(name, 40, 30, (30, 40))
        low, high = law.band(1200, 0.02)
        inside += low <= math.log(float(layer.weight.detach().square().mean()) / law.variance) <= high
    assert inside >= 57
    assert entry_law("unknown", 3, 3, (3, 3)) is None


def test_truncation_at_two_deviations():
    grid = np.linspace(-2, 2, 400001)
    density = np.exp(-(grid**2) / 2)
    variance = float((grid**2 * density).sum() / density.sum())
    assert variance == pytest.approx(TRUNCATION, abs=1e-5)


@pytest.mark.parametrize("law", ["gaussian", "uniform", "truncated"])
def test_bands_keep_their_promise(law):
    generator = np.random.default_rng(0)
    edge = math.sqrt(3)
    draws = {
        "gaussian": lambda: generator.standard_normal((20000, 60)), "uniform": lambda: generator.uniform(-edge, edge, (20000, 60)),
        "truncated": lambda: truncated(generator, (20000, 60)) / math.sqrt(TRUNCATION),
    }[law]()
    logs = np.log((draws**2).mean(1))
    low, high = EntryLaw(1.0, law).band(60, 0.01)
    assert ((logs < low) | (logs > high)).mean() <= 0.012
    assert high < 5 * logs.std()


def truncated(generator, shape):
    values = generator.standard_normal(shape)
    while (np.abs(values) > 2).any():
        again = np.abs(values) > 2
        values[again] = generator.standard_normal(int(again.sum()))
    return values
