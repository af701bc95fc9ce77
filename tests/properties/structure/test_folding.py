"""One fact about many modules is one finding that names them."""

import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding


class Unused(nn.Module):
    """Three layers wait for an input that never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 2)
        self.cross = nn.ModuleList(nn.Sequential(nn.LayerNorm(3)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


class Narrowed(nn.Module):
    """Casts down and up again on two lines."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.half().float()
        return self.layer(x.bfloat16().float())


def violated(model: type[nn.Module], prop: str) -> list[Finding]:
    report = audit(model, (torch.randn(8, 3),), targets=torch.randn(8, 2), loss=functional.mse_loss, select=(prop,), budget="quick")
    return [finding for finding in report.findings if finding.verdict is Verdict.VIOLATED]


def test_modules_that_never_ran_are_told_together() -> None:
    (finding,) = violated(Unused, "gradient-reach")
    assert finding.level is Level.INDICATOR
    assert finding.where.module == "cross.0.0"
    assert "the same is true of 2 more: cross.1.0, cross.2.0" in finding.message


def test_casts_of_one_module_are_told_together() -> None:
    (finding,) = violated(Narrowed, "precision-islands")
    assert finding.evidence is not None
    assert finding.evidence.value == 2.0
    assert "float32 to float16; also" in finding.message
    assert "float32 to bfloat16" in finding.message
