"""Attention that is saturated in one initialisation, and in all of them."""

from dataclasses import replace

import torch
from torch import nn

from gradcheck_suite import audit, catalogue
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.probes.unit_activity import unit_activity
from gradcheck_suite.subject import Batch, Setup, Subject

(ENTRY,) = [entry for entry in catalogue.entries() if entry.id == "attention-spread"]


class Head(nn.Module):
    """One head whose query and key are ``width`` numbers, with weights of standard deviation ``size``."""

    def __init__(self, width: int, size: float) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(2, width, bias=False), nn.Linear(2, width, bias=False), nn.Linear(2, 2)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2) * self.query.out_features**-0.5
        attended: torch.Tensor = torch.softmax(scores, -1) @ self.value(x)
        return attended.mean(1)


def found(width: int, size: float) -> list[tuple[Verdict, Finding]]:
    inputs = torch.randn(4, 12, 2, generator=torch.Generator().manual_seed(0))
    findings = []
    for seed in range(12):
        (finding,) = audit(lambda: Head(width, size), (inputs,), select=("attention-spread",), budget="quick", seed=seed).findings
        findings.append((finding.verdict, finding))
    return findings


def test_a_narrow_head_that_is_large_by_chance_is_not_accused() -> None:
    verdicts = [verdict for verdict, _ in found(1, 0.9)]
    assert Verdict.VIOLATED not in verdicts
    assert Verdict.INCONCLUSIVE in verdicts  # some of the twelve are large in their first draw


def test_heads_that_are_saturated_in_every_draw_are_accused() -> None:
    for verdict, finding in found(8, 4.0):
        assert verdict is Verdict.VIOLATED
        assert finding.evidence is not None
        assert 0 < finding.evidence.error < finding.evidence.value - 1
        assert "saturated attention" in finding.message


def drawn(seed: int, inputs: torch.Tensor) -> Setup:
    torch.manual_seed(seed)
    return Setup(Head(8, 4.0), Batch((inputs,)))


def test_two_draws_are_too_few_for_a_verdict() -> None:
    inputs = torch.randn(4, 12, 2, generator=torch.Generator().manual_seed(0))
    subject = Subject("head", lambda seed: drawn(seed, inputs))
    capture = unit_activity(subject, replace(BUDGETS["quick"], seconds=0.0), 1)
    measured = catalogue.load(ENTRY).measure(capture)
    (evidence,) = (measured,) if isinstance(measured, Evidence) else measured
    assert evidence.verdict is Verdict.INCONCLUSIVE
