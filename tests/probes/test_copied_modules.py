"""A model that copies one of its modules while it runs: the copy has our hooks, and they must not mind."""

import copy

import pytest
import torch
from torch import nn

from gradcheck_suite import api
from gradcheck_suite.core.evidence import Verdict


class Target(nn.Module):
    """The prediction of a network and that of a frozen copy of the day."""

    def __init__(self):
        super().__init__()
        self.net, self.head = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), nn.Linear(4, 4)

    def forward(self, x):
        frozen = copy.deepcopy(self.net).requires_grad_(False)
        return self.head(self.net(x)) - frozen(x).detach()


@pytest.mark.parametrize("family", ["correctness", "numerics", "activations", "initialization", "structure"])
def test_nothing_fails(family):
    def build():
        model = Target()
        return {"model": model, "inputs": torch.randn(8, 6), "targets": torch.randn(8, 4), "loss": nn.functional.mse_loss,
                "optimizer": lambda parameters: torch.optim.SGD(parameters, 0.01), "intended": {"": "the target is held constant"}}

    report = api.audit(build, select=[family], isolation="none", budget="quick")
    assert not [finding for finding in report.findings if finding.verdict is Verdict.ERROR]
    assert [finding for finding in report.findings if finding.verdict is Verdict.HOLDS]
