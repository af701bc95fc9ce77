"""A layer that is dead at the start may come alive: only steps of an optimiser tell."""

import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Level, Verdict


def build() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(model[0].bias, -50.0)
    return model


def test_the_level_follows_what_was_seen() -> None:
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    trained = {"targets": y, "loss": functional.mse_loss, "optimizer": lambda p: torch.optim.SGD(p, lr=0.01)}
    cases = ((trained, Level.REQUIREMENT, "after three steps"), ({}, Level.INDICATOR, "no step of an optimiser"))
    for fact, level, words in cases:
        report = audit(build, (x,), select=("live-layers",), budget="quick", **fact)
        (finding,) = report.findings
        assert (finding.verdict, finding.level) == (Verdict.VIOLATED, level)
        assert words in finding.message
