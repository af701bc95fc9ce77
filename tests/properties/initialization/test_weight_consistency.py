"""Rules that are known, if others than the rest follows, are nobody's mistake."""

import pytest
import torch
from torch import nn

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Verdict


def build(std: float) -> nn.Module:
    """He by fan-out throughout, but for one layer of many inputs and one output, drawn with that standard deviation."""
    model = nn.Sequential(*(nn.Conv2d(256, 256, 1) for _ in range(3)), nn.Conv2d(256, 1, 3, padding=1), nn.Conv2d(1, 64, 3))
    for layer in model:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.normal_(model[3].weight, std=std)
    return model


@pytest.mark.parametrize(("std", "verdict"), [((2 / (256 * 9)) ** 0.5, Verdict.HOLDS), (0.01 * (2 / 9) ** 0.5, Verdict.VIOLATED)])
def test_fan_in_among_fan_out(std: float, verdict: Verdict) -> None:
    report = audit(lambda: build(std), (torch.randn(2, 256, 4, 4),), select=("weight-consistency",), budget="quick")
    assert verdict in {finding.verdict for finding in report.findings}
    assert (Verdict.VIOLATED in {finding.verdict for finding in report.findings}) == (verdict is Verdict.VIOLATED)


def test_one_standard_deviation_for_a_part_of_the_model_is_a_practice() -> None:
    def make(constant: int) -> nn.Module:
        model = nn.Sequential(*(nn.Linear(64 - size, 63 - size) for size in range(9)))
        for index, layer in enumerate(model):
            nn.init.xavier_normal_(layer.weight)
            if 0 < index <= constant:
                nn.init.normal_(layer.weight, std=0.001)
        return model

    for constant, expected in ((4, False), (1, True)):
        report = audit(lambda size=constant: make(size), (torch.randn(2, 64),), select=("weight-consistency",), budget="quick")
        assert (Verdict.VIOLATED in {finding.verdict for finding in report.findings}) == expected
