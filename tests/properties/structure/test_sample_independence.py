"""A leak between samples is told as what was measured: by the change of an output, or by a gradient where that is too small."""

import pytest
import torch
from torch import nn

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Verdict


class Leaky(nn.Module):
    """Adds a part of the batch's mean."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.layer, self.part = nn.Linear(3, 4), part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y + self.part * y.mean(0)


@pytest.mark.parametrize(("part", "quantity"), [(0.1, "change of a sample's output"), (1e-6, "largest gradient of a sample's output")])
def test_a_leak_is_told_as_what_was_measured(part: float, quantity: str) -> None:
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    (finding,) = audit(lambda: Leaky(part), (inputs,), select=("sample-independence",), budget="quick").findings
    assert finding.verdict is Verdict.VIOLATED
    assert finding.evidence is not None
    assert finding.evidence.quantity.startswith(quantity)
    assert finding.evidence.value == pytest.approx(part, rel=0.9)
    assert "batch leakage" in finding.message


def test_samples_that_keep_apart_hold() -> None:
    (finding,) = audit(lambda: Leaky(0.0), (torch.randn(6, 3),), select=("sample-independence",), budget="quick").findings
    assert finding.verdict is Verdict.HOLDS
