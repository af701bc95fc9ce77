"""Positions that share their weights are not coins of their own."""

import pytest
import torch
from torch import nn

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Verdict


class Biased(nn.Module):
    """A ReLU on an image of which that many of 64 channels are negative everywhere."""

    def __init__(self, negative: int) -> None:
        super().__init__()
        self.layer, self.act = nn.Conv2d(1, 64, 1), nn.ReLU()
        nn.init.zeros_(self.layer.weight)
        with torch.no_grad():
            self.layer.bias.copy_(torch.where(torch.arange(64) < negative, -1.0, 1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.layer(x))


@pytest.mark.parametrize(("negative", "verdict"), [(36, Verdict.HOLDS), (46, Verdict.HOLDS), (60, Verdict.VIOLATED)])
def test_the_share_is_that_of_a_coin_a_channel_and_not_a_position(negative: int, verdict: Verdict) -> None:
    report = audit(Biased(negative), (torch.ones(2, 1, 12, 12),), select=("unsaturated-fraction",), budget="quick")
    (finding,) = report.findings
    assert finding.verdict is verdict
