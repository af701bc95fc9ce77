"""What it takes to know that outputs which depend on the sample do better than the best constant."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.training import attempts, training
from gradcheck_suite.probes.training.searches import descends
from gradcheck_suite.probes.training.yardsticks import Outputs, best_constant
from tests.probes.small import classes, mlp, regression, sgd, subject

MANY = 2**17 + 1


@pytest.fixture
def searched(monkeypatch):
    """Numbers of entries over which L-BFGS is asked to search, in order."""
    sizes = []

    class Counted(torch.optim.LBFGS):
        def __init__(self, parameters, **options):
            parameters = list(parameters)
            sizes.append(sum(parameter.numel() for parameter in parameters))
            super().__init__(parameters, **options)

    monkeypatch.setattr(torch.optim, "LBFGS", Counted)
    return sizes


def constant_of(make, data, loss):
    return best_constant(Outputs(Experiment(subject(make, data, loss).setup(0), 0)))


def probability(output, target):
    return functional.binary_cross_entropy(output, (target > 0.3).float())


@pytest.mark.parametrize(("last", "loss"), [
    (None, functional.mse_loss), (None, functional.l1_loss), (None, functional.smooth_l1_loss), (nn.Sigmoid(), probability),
    (nn.Sigmoid(), lambda o, y: functional.mse_loss(o, y + 100)), (None, lambda o, y: 1e-9 * functional.mse_loss(o, y)),
    (nn.LogSoftmax(1), lambda o, y: functional.nll_loss(o, (y[:, 0] > 0.3).long())),
    (None, lambda o, y: functional.cross_entropy(o, (y[:, 0] > 0.3).long())),
    (None, lambda o, y: functional.gaussian_nll_loss(o[:, 0], y[:, 0], torch.ones(16)) - 5),
])
def test_steps_down_the_gradient_settle_it_for_ordinary_losses(searched, last, loss):
    assert not math.isnan(constant_of(lambda: mlp(4, 8, 2, last=last), regression(), loss).value)
    assert set(searched) == {2}  # one row of two outputs, never the outputs of all samples


class Wide(nn.Module):
    """More than a million outputs of few parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).repeat(1, MANY)


def test_large_outputs_are_never_searched_as_a_whole(searched):
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randn(8, MANY, generator=torch.Generator().manual_seed(1))
    found = constant_of(Wide, (x, y), functional.mse_loss)
    assert found.value == pytest.approx(float((y - y.mean(0)).square().mean()), rel=1e-4)
    assert set(searched) == {MANY}


@pytest.mark.parametrize("many", [1, MANY])
def test_a_loss_that_no_output_lowers_has_no_yardstick_whatever_the_size(searched, many):
    def balanced(output, _):
        return (functional.softplus(-output) + functional.softplus(output)).mean()

    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    found = constant_of(lambda: Wide() if many > 1 else nn.Linear(4, 1), (x, None), balanced)
    assert math.isnan(found.value)
    assert not found.unbounded
    assert (max(searched) > many) == (many == 1)


def test_nothing_is_told_of_a_loss_without_slope_or_that_raises():
    def raises(free):
        raise ValueError(free)

    start = [torch.zeros(3)]
    assert not descends(lambda free: free[0].square().sum() + 1, start, 1.0, 0.5)
    assert not descends(lambda free: torch.ones(()), start, 1.0, 0.5)
    assert not descends(raises, start, 1.0, 0.5)
    assert descends(lambda free: (free[0] - 3).square().sum(), start, 27.0, 1e-3)


def test_a_step_that_leaves_the_domain_of_the_loss_is_shortened():
    assert descends(lambda free: functional.binary_cross_entropy(free[0], torch.ones(3)), [torch.full((3,), 0.5)], math.log(2), 0.3)


def test_the_best_constant_is_not_searched_again_for_another_learning_rate(monkeypatch):
    found = []
    monkeypatch.setattr(attempts, "best_constant", lambda outputs: found.append(best_constant(outputs)) or found[-1])
    seen = training(subject(lambda: mlp(4, 8, 3), classes(), functional.cross_entropy, sgd(1e-6)), BUDGETS["standard"], 3)
    rates = [trial for trial in seen.trials if trial.factor != 1.0]
    assert rates
    assert {trial.constant for trial in rates} == {seen.own.constant}
    assert len(found) == len(seen.attempts) - 1 + len(seen.trials) - len(rates)
