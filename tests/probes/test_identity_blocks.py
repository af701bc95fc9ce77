"""Identity blocks: found innermost, with masks and keyword arguments, and only where a zero weight makes them so."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.identity_blocks import identity_blocks
from gradcheck_suite.subject import Batch, Setup, Subject


class Gated(nn.Module):
    """ReZero: x + alpha f(x) * mask."""

    def __init__(self, broken=False):
        super().__init__()
        self.inner, self.alpha, self.broken = nn.Linear(4, 4), nn.Parameter(torch.zeros(())), broken

    def forward(self, x, mask=None):
        skip = 0.5 * x + 0.5 * x.detach() if self.broken else x
        return skip + self.alpha * self.inner(x) * (1 if mask is None else mask)


class Masked(nn.Module):
    def __init__(self, broken=False):
        super().__init__()
        self.block, self.head = Gated(broken), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.block(x, mask=torch.ones(4)))


def capture(make):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((torch.randn(3, 4),)))

    return identity_blocks(Subject("model", setup), BUDGETS["quick"], 0)


def test_a_zero_gate_is_an_identity():
    seen = capture(Masked)
    assert (seen.paths, seen.zeros) == (("block",), ("alpha",))
    assert seen.bits.tolist() == [0]
    assert seen.entries.tolist() == [12]


def test_a_skip_with_half_its_gradient_is_seen():
    seen = capture(lambda: Masked(broken=True))
    assert seen.bits[0] > 0
    assert seen.norms[0] == pytest.approx(0.5)


class Rectified(Gated):
    """The block of a residual network: a rectifier after the sum, on what a rectifier gave."""

    def forward(self, x, mask=None):
        return torch.relu(super().forward(x, mask))


@pytest.mark.parametrize("broken", [False, True])
def test_a_rectifier_behind_the_sum_is_the_identity_but_at_its_kink(broken):
    seen = capture(lambda: nn.Sequential(nn.ReLU(), Rectified(broken), nn.Linear(4, 2)))
    assert seen.paths == ("1",)
    assert (seen.bits[0] > 0) == broken


def test_other_models_have_no_identity_blocks():
    for make in (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), lambda: nn.Sequential(nn.Identity(), nn.Identity())):
        with pytest.raises(NotApplicable, match="no block is the identity"):
            capture(make)


class Direction(Gated):
    def forward(self, x):
        return torch.nn.functional.normalize(super().forward(x), dim=-1)


def test_what_gives_back_unit_vectors_alone_is_no_identity():
    def setup(seed):
        return Setup(nn.Sequential(Direction()), Batch((torch.eye(4),)))

    with pytest.raises(NotApplicable):
        identity_blocks(Subject("model", setup), BUDGETS["quick"], 0)
