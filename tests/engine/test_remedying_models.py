"""Remedies tried on real models, in this process and in a child: what the usual remedies truly do."""

from dataclasses import replace
from pathlib import Path

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.text import finding_text
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.remedying import Remedies
from gradcheck_suite.engine.sources import ChildSource, Limits, LocalSource
from gradcheck_suite.targets import Options, parse, resolve

ROOT = Path(__file__).resolve().parents[2]
FEW = replace(budget("standard"), draws=12)


def findings_of(path, *names, isolated=False):
    """The violated findings of these properties on a target, with their trials by name of the remedy."""
    if isolated:
        source = ChildSource(parse(path), Options(), FEW, 0, Limits(seconds=60.0))
    else:
        source = LocalSource(resolve(parse(path), Options()), FEW, 0)
    remedies = Remedies(source, 3)
    found = {}
    for entry in catalogue.entries():
        if entry.id in names:
            prop = catalogue.load(entry)
            found[entry.id] = [(finding, {trial.remedy: trial for trial in finding.remedies})
                               for finding in remedies.tried(prop, check(prop, source)) if finding.verdict is Verdict.VIOLATED]
    remedies.close()
    source.close()
    return found


@pytest.mark.parametrize("isolated", [False, True])
def test_deep_relus_are_cured_by_he_and_not_brought_into_the_band_by_batch_normalisation(isolated, monkeypatch):
    monkeypatch.chdir(ROOT)  # a target's name decides its draws
    found = findings_of("examples/deep_relu.py:build_default", "gradient-scale-across-depth", isolated=isolated)
    ((finding, trials),) = found["gradient-scale-across-depth"]
    he, norm, skip = (trials[name] for name in ("he-initialization", "batch-normalization", "residual-connections"))
    assert finding.evidence.value < -20
    assert (he.verdict, he.helps) == (Verdict.HOLDS, True)
    assert (skip.verdict, skip.helps) == (Verdict.HOLDS, True)
    assert norm.verdict is Verdict.VIOLATED
    assert norm.value > 4  # from vanishing to exploding: thirty layers of 10^0.2 less the first few
    assert "It does not keep the gradient's scale in a deep plain network" in norm.note
    told = finding_text(finding)
    assert "he-initialization helps (holds, " in told
    assert "batch-normalization helps, not enough (violated, " in told


MODELS = '''
import os
import torch
from torch import nn

def batch(seed):
    inputs = torch.randn(16, 32, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :4].argmax(1)

def setup(model, rate=0.1):
    return {"model": model, "batch": batch, "loss": nn.functional.cross_entropy,
            "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=rate)}

def sigmoids():
    layers = [layer for _ in range(30) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    return setup(nn.Sequential(*layers, nn.Linear(32, 4)))

def deep():
    layers = [layer for _ in range(11) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return setup(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), *layers, nn.Linear(64, 4)))

def overshooting():
    return setup(nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)), rate=30.0)

class Fragile(nn.Sequential):
    def forward(self, x):
        if any(isinstance(module, nn.BatchNorm1d) for module in self.modules()):
            os._exit(3)
        for layer in self:
            x = layer(x)
        return x

def fragile():
    layers = [layer for _ in range(20) for layer in (nn.Sequential(nn.Linear(32, 32), nn.ReLU()),)]
    return setup(Fragile(*layers, nn.Linear(32, 4)))
'''


@pytest.fixture
def models(tmp_path):
    path = tmp_path / "trouble.py"
    path.write_text(MODELS, encoding="utf-8")
    return path


def test_the_worst_layer_may_be_another_one_afterwards(models):
    ((finding, trials),) = findings_of(f"{models}:deep", "gradient-scale-per-layer")["gradient-scale-per-layer"]
    assert finding.evidence.value < -0.6
    assert trials["he-initialization"].verdict is Verdict.HOLDS


def test_deep_sigmoids_are_not_cured_by_he_but_by_relus_and_by_batch_normalisation(models):
    ((finding, trials),) = findings_of(f"{models}:sigmoids", "gradient-persistence-in-depth")["gradient-persistence-in-depth"]
    assert finding.evidence.value < -15
    assert trials["he-initialization"].verdict is Verdict.VIOLATED
    assert trials["relu-activation"].verdict is Verdict.HOLDS
    assert trials["batch-normalization"].verdict is Verdict.HOLDS


def test_too_high_a_rate_is_cured_by_a_lower_one(models):
    found = findings_of(f"{models}:overshooting", "learning-rate-stability", "sharpness-within-stability")
    for findings in found.values():
        ((_, trials),) = findings
        assert trials["lower-learning-rate"].helps
    assert "there is no failure to explain" in found["learning-rate-stability"][0][1]["lower-learning-rate"].note
    assert "the training is stable" in found["sharpness-within-stability"][0][1]["lower-learning-rate"].note


def test_a_child_that_dies_of_a_remedy_costs_one_trial(models):
    found = findings_of(f"{models}:fragile", "gradient-persistence-in-depth", isolated=True)
    ((_, trials),) = found["gradient-persistence-in-depth"]
    assert trials["he-initialization"].helps
    assert trials["batch-normalization"].verdict is Verdict.ERROR
    assert "exited with exit code 3" in trials["batch-normalization"].note
