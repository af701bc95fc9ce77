import pytest
import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep.across import across
from gradcheck_suite.probes.configuration_sweep.draft import draft_of
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.generators import Generators
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings


class Sinc(torch.autograd.Function):
    """``sin(x + 1)`` written with a branch at zero that gives the same value, and a gradient of a given factor there."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.where(x == 0, torch.tensor(1.0, dtype=x.dtype).sin(), (x + 1).sin())

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x + 1).cos() * torch.where(x == 0, ctx.factor, 1.0), None


class Branch(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def found(function, x):
    draft = draft_of(Call(Branch(function), "m", (x,), {}))
    return across(Varied(draft, Surroundings(Draws(0), Resets(draft.module), Generators([]))), Draws(1))


ZEROS = torch.tensor([0.0, 0.3, 0.0, -0.7], dtype=torch.float64)


def test_a_wrong_gradient_at_a_branch_that_is_smooth_is_found():
    wrong = found(lambda x: Sinc.apply(x, 0.5), ZEROS)
    assert wrong.status == "disagrees"
    assert abs(wrong.outcome.gap) > 100 * wrong.outcome.error


@pytest.mark.parametrize("function", [
    lambda x: Sinc.apply(x, 1.0), torch.relu, torch.abs, lambda x: torch.where(x > 0, x, 0.1 * x), torch.sign, lambda x: x.abs().sqrt(),
    lambda x: x.norm(), lambda x: torch.maximum(x, -2 * x),
], ids=["right", "relu", "abs", "leaky", "step", "root", "norm", "maximum"])
def test_kinks_and_jumps_are_not_accused(function):
    assert found(function, ZEROS) is None
