"""A result that nothing uses is told apart from a branch that is cut off."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite import audit
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding


class Branches(nn.Module):
    """Two branches; ``forward`` of a subclass says what becomes of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.branch, self.norm = nn.Linear(3, 2), nn.Linear(3, 2), nn.LayerNorm(2)
        self.gate = nn.Parameter(torch.zeros(1))


class Unused(Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.norm(self.branch(x))
        return self.used(x) * (1 + self.gate)


class Detached(Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) * (1 + self.gate) + self.norm(self.branch(x)).detach()


class Gated(Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) + self.gate * self.norm(self.branch(x)).detach()


class Rounded(Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) * (1 + self.gate) + self.norm(self.branch(x)).argmax(1, keepdim=True)


class NeverRead(Branches):
    def __init__(self) -> None:
        super().__init__()
        self.used.clip = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) * (1 + self.gate) + self.norm(self.branch(x))


class Drawn(Branches):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = nn.Dropout(0.5)(x)
        self.norm(self.branch(noise))
        return self.used(noise) * (1 + self.gate)


def reach(model: type[nn.Module], loss: bool = True) -> list[Finding]:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    objective: dict[str, Any] = {"targets": torch.zeros(8, 2), "loss": functional.mse_loss} if loss else {}
    report = audit(model, (inputs,), select=("gradient-reach",), budget="quick", **objective)
    return [finding for finding in report.findings if finding.verdict is Verdict.VIOLATED]


@pytest.mark.parametrize("loss", [True, False])
@pytest.mark.parametrize("model", [Unused, Drawn])
def test_a_result_that_nothing_uses_is_an_indicator(model: type[nn.Module], loss: bool) -> None:
    (finding,) = reach(model, loss)
    assert finding.level is Level.INDICATOR
    assert finding.where.module == "norm"
    assert "nothing depends on the parameter" in finding.message
    assert "the same is true of 1 more: branch" in finding.message


@pytest.mark.parametrize("loss", [True, False])
@pytest.mark.parametrize("model", [Detached, Gated, Rounded])
def test_a_branch_that_moves_the_output_and_is_cut_off_is_a_requirement(model: type[nn.Module], loss: bool) -> None:
    (finding,) = reach(model, loss)
    assert finding.level is Level.REQUIREMENT
    assert finding.where.module == "norm"
    assert "the module ran and receives no gradient" in finding.message


def test_a_parameter_that_the_forward_pass_never_reads_is_an_indicator() -> None:
    (finding,) = reach(NeverRead)
    assert finding.level is Level.INDICATOR
    assert (finding.where.module, finding.where.parameter) == ("used", "clip")
