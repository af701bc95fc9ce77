"""Models with compiled TorchScript inside: it refuses hooks, and probes neither fail for that nor break it."""

import warnings

import pytest
import torch
from torch import nn

from gradcheck_suite import catalogue
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes import probe
from gradcheck_suite.probes.state import preserved
from tests.probes.small import mlp, regression, subject

NAMES = sorted({name for entry in catalogue.entries() for name in catalogue.load(entry).probes})


def scripted(inner):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(inner)


MAKERS = [lambda: scripted(mlp(4, 5, 2)), lambda: nn.Sequential(nn.Linear(4, 4), scripted(mlp(4, 3)), nn.Linear(3, 2))]


@pytest.mark.parametrize("make", MAKERS, ids=["whole", "part"])
@pytest.mark.parametrize("name", NAMES)
def test_probes_run_or_say_why_not(make, name):
    try:
        seen = probe(name)(subject(make, regression()), BUDGETS["quick"], 0)
    except NotApplicable as fact:
        seen = str(fact)
    assert seen


@pytest.mark.parametrize("make", MAKERS, ids=["whole", "part"])
def test_the_guard_leaves_it_working(make):
    model, x = make(), torch.ones(3, 4)
    before = model(x)
    with preserved(model):
        model.double()
        model.eval()
        model(x.double())
    assert torch.equal(model(x), before)
    assert all(module.training for module in model.modules())
