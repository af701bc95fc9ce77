"""One directional derivative: agreement, proof, kinks, noise, gradients that are not finite."""

import math

import pytest
import torch
from torch.nn import functional

from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, DISAGREES, KINK, NOISE, at_the_point, compare, glance
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import INPUT, Experiment, linearize

POINT = torch.tensor([0.4, -0.9, 1.3, 0.2], dtype=torch.float64)


class Function(Experiment):
    """A function of one tensor."""

    def __init__(self, function, point=POINT):
        super().__init__()
        self.function, self.tensors, self.roles = function, [point.clone().requires_grad_()], [INPUT]

    def names(self):
        return ["x"]

    def run(self):
        return [self.function(self.tensors[0])]

    def reset(self):
        """Nothing is kept."""


class Wrong(torch.autograd.Function):
    """x², with a gradient off by a relative amount."""

    @staticmethod
    def forward(ctx, x, off):
        ctx.save_for_backward(x)
        ctx.off = off
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient * (1 + ctx.off), None


def test_outputs_whose_number_depends_on_the_point_are_a_kink_and_no_failure():
    point = torch.tensor([0.0, -0.9, 1.3, 0.0], dtype=torch.float64)
    assert outcome(lambda x: torch.cat([x[x >= 0], x[x >= 0]]), point).status == KINK


def outcome(function, point=POINT, seed=0):
    experiment, draws = Function(function, point), Draws(seed)
    linear = linearize(experiment, draws)
    return compare(experiment, linear, direction(experiment, linear, draws), ALONE)


@pytest.mark.parametrize("function", [
    torch.tanh, lambda x: torch.tanh(x) * 1e-10, lambda x: torch.tanh(x) * 1e10, lambda x: x + 1e6, torch.exp, lambda x: x.softmax(0),
])
def test_right_gradients_agree(function):
    found = outcome(function)
    assert found.status == AGREES
    assert found.error <= 1e-6 * found.scale


@pytest.mark.parametrize("off", [1.0, 1e-3, 1e-5, 1e-7])
def test_wrong_gradients_disagree_by_what_they_are_off(off):
    found = outcome(lambda x: Wrong.apply(x, off))
    assert found.status == DISAGREES
    assert found.gap / found.analytic == pytest.approx(off / (1 + off), rel=1e-2)
    assert abs(found.gap) > found.error


def test_a_right_gradient_on_a_kink_is_called_a_kink():
    found = outcome(torch.relu, torch.zeros(4, dtype=torch.float64))
    assert found.status == KINK
    assert found.kink.operation == "relu at 0"
    assert math.isinf(found.error)


def test_close_to_kinks_smaller_steps_decide():
    assert outcome(torch.relu, torch.full((4,), 1e-7, dtype=torch.float64)).status == AGREES


def test_narrow_numbers_inside_cannot_be_resolved():
    found = outcome(lambda x: torch.tanh(x.float()).double())
    assert found.status == NOISE
    assert found.seen.narrow
    assert found.error > 1e-6 * found.scale


def test_a_narrow_copy_kept_for_the_backward_pass_is_wrong():
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = x.bfloat16()
            return x * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2 * ctx.kept.double()

    found = outcome(Keeps.apply)
    assert found.status == DISAGREES
    assert "bfloat16" in found.seen.kept


def test_nan_where_the_function_is_smooth_is_wrong():
    found = outcome(lambda x: torch.where(x > 1e3, (x - 1e3).sqrt(), x))
    assert found.status == DISAGREES
    assert found.nonfinite
    assert found.error == 0.0


def test_nan_where_the_slope_is_bounded_is_wrong_even_on_a_kink():
    point = torch.zeros(3, dtype=torch.float64)
    assert outcome(lambda x: (x * x).sum().sqrt(), point).status == DISAGREES


def test_an_infinite_slope_at_the_edge_of_the_domain_is_not():
    assert outcome(torch.sqrt, torch.zeros(3, dtype=torch.float64)).status == KINK


def test_a_forward_pass_that_does_not_repeat_is_never_wrong():
    calls = []

    def drifting(x):
        calls.append(1)
        return x * (1 + 0.01 * len(calls))

    found = outcome(drifting)
    assert found.status == NOISE
    assert not found.repeats


def test_chaos_is_not_called_wrong():
    def chaotic(x):
        for _ in range(60):
            x = 3.9 * torch.sigmoid(x) * (1 - torch.sigmoid(x)) * 4 - 2
        return x

    assert outcome(chaotic).status in (AGREES, NOISE)


def test_ill_conditioning_of_the_backward_pass_counts_as_error():
    point = 1 + 1e-9 * POINT
    assert outcome(lambda x: functional.layer_norm(x, (4,), eps=0.0), point).status in (AGREES, NOISE)


def test_at_ties_the_values_alone_may_decide():
    class Tied(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            most = x.amax()
            return most + (x - most).exp().sum().log()

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient * torch.where(x == x.amax(), 1.0, x.softmax(0))

    experiment, draws = Function(Tied.apply, torch.tensor([1.0, 1.0, 0.2], dtype=torch.float64)), Draws(0)
    linear = linearize(experiment, draws)
    along = direction(experiment, linear, draws)
    assert compare(experiment, linear, along, ALONE).status == KINK
    assert at_the_point(experiment, linear, along).status == DISAGREES


def test_a_quick_look_costs_two_runs():
    experiment, draws = Function(torch.tanh), Draws(0)
    linear = linearize(experiment, draws)
    assert glance(experiment, linear, direction(experiment, linear, draws), ALONE).status == AGREES
    assert experiment.runs == 2


def iterated(rate, count):
    def function(x):
        x = torch.sigmoid(x)
        for _ in range(count):
            x = rate * x * (1 - x)
        return x

    return function


@pytest.mark.parametrize("count", [35, 50, 70, 100])
def test_a_chaotic_map_is_no_wrong_gradient(count):
    for seed in range(3):
        found = outcome(iterated(3.9, count), seed=seed)
        assert found.status in (AGREES, NOISE)
    assert found.text.startswith("ill-conditioned") or found.status == AGREES


def test_a_huge_wrong_gradient_of_a_tame_function_is_still_wrong():
    found = outcome(lambda x: Wrong.apply(x, 1e12))
    assert found.status == DISAGREES
