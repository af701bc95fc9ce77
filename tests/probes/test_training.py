"""The short training and its yardsticks, on problems whose answers are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.training import LEARNING_RATE, Training
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.training import training
from gradcheck_suite.probes.training.attempts import explains
from gradcheck_suite.probes.training.searches import minimum
from gradcheck_suite.probes.training.yardsticks import Outputs, best_constant, reach
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import adam, classes, mlp, regression, sgd, subject


def seen(*args, seed=3, **options) -> Training:
    return training(subject(*args, **options), BUDGETS["standard"], seed)


def outputs(make, data, loss) -> Outputs:
    return Outputs(Experiment(subject(make, data, loss).setup(0), 0))


def test_the_best_constant_of_a_squared_error_is_the_mean():
    x, y = regression()
    found = best_constant(outputs(lambda: mlp(4, 8, 2), (x, y), functional.mse_loss))
    assert found.value == pytest.approx(float((y - y.mean(0)).square().mean()), rel=1e-6)
    assert not found.unbounded


def test_the_best_constant_of_a_cross_entropy_is_the_entropy_of_the_classes():
    x, y = classes()
    share = torch.bincount(y) / len(y)
    found = best_constant(outputs(lambda: mlp(4, 8, 3), (x, y), functional.cross_entropy))
    assert found.value == pytest.approx(float(-(share * share.log()).sum()), rel=1e-5)


def test_the_best_constant_stays_within_the_range_of_the_last_activation():
    x, y = regression()
    found = best_constant(outputs(lambda: mlp(4, 8, 2, last=nn.Sigmoid()), (x, 100 + y), functional.mse_loss))
    assert found.value == pytest.approx(float((99 + y).square().mean()), rel=1e-3)


def test_a_loss_with_the_wrong_sign_is_unbounded():
    data = regression()
    assert best_constant(outputs(lambda: mlp(4, 2), data, lambda o, y: -functional.mse_loss(o, y))).unbounded
    x, y = classes()
    assert best_constant(outputs(lambda: mlp(4, 3), (x, y), functional.nll_loss)).unbounded
    assert not best_constant(outputs(lambda: mlp(4, 3, last=nn.LogSoftmax(1)), (x, y), functional.nll_loss)).unbounded


def test_no_constant_is_a_yardstick_where_no_output_does_better():
    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(4, 8, 1)

        def forward(self, real, false):
            return self.body(real), self.body(false)

    def hinge(output, _):
        return functional.relu(1 - output[0]).mean() + functional.relu(1 + output[1]).mean()

    def logistic(output, _):
        return (functional.softplus(-output[0]) + functional.softplus(output[1])).mean()

    x, y = regression()
    for loss in (hinge, logistic):
        found = best_constant(outputs(Critic, ((x, -x), None), loss))
        assert math.isnan(found.value) or found.value == 0.0
        assert not found.unbounded
    # targets beyond the range of the last activation: within it nothing does better than its end, and that is the model's fault
    assert math.isfinite(best_constant(outputs(lambda: mlp(4, 8, 2, last=nn.Sigmoid()), (x, 100 + y), functional.mse_loss)).value)


@pytest.mark.parametrize(("shift", "scale", "factor"), [
    (0.0, 1e-6, 1.0), (0.0, 1e6, 1.0), (1e6, 1e5, 1.0), (2e5, 1.0, 1.0), (0.0, 1.0, 1e-12), (0.0, 1.0, 1e6), (-1e5, 1e5, 1e-9),
])
def test_a_constant_is_a_yardstick_in_any_unit(shift, scale, factor):
    x, y = regression()
    y = shift + scale * y
    for loss in (functional.mse_loss, functional.l1_loss):
        found = best_constant(outputs(lambda: mlp(4, 8, 2), (x, y), lambda o, t, loss=loss: factor * loss(o, t)))
        assert found.value > 0


def test_outputs_without_a_gradient_are_data():
    class Student(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.teacher = mlp(4, 2), mlp(4, 2).requires_grad_(False)

        def forward(self, x):
            return self.body(x), self.teacher(x)

    x, _ = regression()
    given = outputs(Student, (x, None), lambda output, _: functional.mse_loss(*output))
    assert given.moving == [0]
    expected = float((given.values[1] - given.values[1].mean(0)).square().mean())
    assert best_constant(given).value == pytest.approx(expected, rel=1e-4)


def test_outputs_that_are_nested_have_a_best_constant():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x):
            return {"numbers": self.a(x), "classes": self.b(x)}

    x, y = regression()
    kinds = torch.arange(len(x)) % 2

    def loss(output, target):
        return functional.mse_loss(output["numbers"], target) + functional.cross_entropy(output["classes"], kinds)

    expected = float((y - y.mean(0)).square().mean()) + math.log(2)
    assert best_constant(outputs(Two, (x, y), loss)).value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("last", "shift", "inside"), [(nn.Sigmoid(), 100.0, True), (nn.ReLU(), 0.0, True), (nn.Softplus(), 50.0, False)])
def test_what_the_last_activation_leaves_within_reach(last, shift, inside):
    x, y = regression()
    found = reach(outputs(lambda: mlp(4, 8, 2, last=last), (x, y + shift), functional.mse_loss), 1.0)
    assert found is not None
    assert found.outside == pytest.approx(0.0, abs=1e-4)
    assert (found.inside > 0.05) == inside
    assert found.module == "3"


def test_a_softmax_before_a_cross_entropy_has_a_floor():
    found = reach(outputs(lambda: mlp(4, 8, 3, last=nn.Softmax(1)), classes(), functional.cross_entropy), 1.1)
    assert found is not None
    assert found.inside == pytest.approx(math.log(1 + 2 / math.e), rel=1e-3)
    assert found.outside == pytest.approx(0.0, abs=1e-3)
    assert found.functions == ("softmax",)


def test_a_softmax_that_the_loss_needs_is_not_left_out():
    found = reach(outputs(lambda: mlp(4, 8, 3, last=nn.Softmax(1)), classes(), lambda o, y: functional.nll_loss(o.log(), y)), 1.1)
    assert found is not None
    assert found.dropped == 0


def test_only_the_innermost_of_two_activations_is_left_out_where_that_is_enough():
    last = nn.Sequential(nn.ReLU(), nn.Sigmoid())
    y = (torch.arange(16) % 2).float()[:, None]
    found = reach(outputs(lambda: mlp(4, 8, 1, last=last), (regression()[0], y), functional.binary_cross_entropy), 0.7)
    assert found is not None
    assert (found.functions, found.dropped) == (("relu", "sigmoid"), 1)
    assert found.inside == pytest.approx(0.5 * math.log(2), rel=1e-2)


def test_minimum_keeps_the_best_of_what_it_saw_when_the_objective_raises():
    def objective(free):
        if float(free[0].detach()) > 2:
            raise ValueError("out of range")
        return (free[0] - 3).square().sum()

    value, free = minimum(objective, [torch.zeros(1)], 20)
    assert value <= 9
    assert float(free[0]) <= 2


def test_a_healthy_set_up_needs_one_attempt_and_no_trial():
    capture = seen(lambda: mlp(4, 16, 2), regression(), optimizer=adam())
    assert len(capture.attempts) == 1
    assert capture.trials == ()
    assert capture.own.losses.shape == (101,)
    assert capture.gain > 0.5
    assert not capture.failing
    assert capture.breakdown is None
    assert decode(encode(capture)).own.gain == capture.own.gain


def test_a_short_budget_is_lengthened_where_it_leaves_a_doubt():
    slow = training(subject(lambda: mlp(4, 16, 2), regression(), optimizer=sgd(1e-6)), BUDGETS["quick"], 3)
    assert slow.steps == 100
    assert slow.own.losses.shape == (101,)
    quick = training(subject(lambda: mlp(4, 16, 2), regression(), optimizer=adam(0.1)), BUDGETS["quick"], 3)
    assert quick.steps == 20


def test_a_rate_that_is_too_small_is_explained_by_a_larger_one():
    capture = seen(lambda: mlp(4, 16, 2), regression(), optimizer=sgd(1e-6))
    assert capture.failing
    assert capture.outlook != capture.outlook
    best = max(capture.trial(LEARNING_RATE), key=lambda trial: trial.gain)
    assert best.factor >= 1e3
    assert explains(best, capture.own)


def test_a_rate_that_is_too_large_breaks_off_and_is_explained_by_a_smaller_one():
    capture = seen(lambda: mlp(4, 16, 2, activation=nn.ReLU), regression(), optimizer=sgd(30.0))
    assert not capture.own.finite
    assert capture.own.gain == -math.inf
    assert capture.breakdown is not None
    assert capture.breakdown.step == capture.own.losses.size - 1
    assert any(trial.factor < 1 and explains(trial, capture.own) for trial in capture.trial(LEARNING_RATE))


def test_inputs_that_are_too_large_are_explained_by_standardised_ones():
    x, y = classes()
    capture = seen(lambda: mlp(4, 16, 3, activation=nn.ReLU), (1000 * x, y), functional.cross_entropy, sgd(0.3))
    (trial,) = capture.trial("standardised inputs")
    assert capture.advantage(trial) > 0.5


def test_a_penalty_on_the_weights_is_the_part_that_no_output_changes():
    def setup(seed):
        torch.manual_seed(seed)
        model, (x, y) = mlp(4, 8, 2), regression()
        penalty = [p for p in model.parameters() if p.dim() > 1]
        return Setup(model, Batch((x,), targets=y),
                     lambda o, t: functional.mse_loss(o, t) + 10 * torch.stack([p.square().sum() for p in penalty]).sum(), adam())

    capture = training(Subject("penalised", setup), BUDGETS["quick"], 0)
    assert capture.direct > 0.8
    assert seen(lambda: mlp(4, 8, 2), regression(), optimizer=adam()).direct == 0.0


def test_a_loss_that_runs_the_model_itself_is_no_penalty():
    def setup(seed):
        torch.manual_seed(seed)
        model, (x, y) = mlp(4, 8, 2), regression()
        return Setup(model, Batch((x,), targets=y), lambda o, t: functional.mse_loss(model(x + 0.0 * x), t), adam())

    assert training(Subject("residual", setup), BUDGETS["quick"], 0).direct == 0.0


def test_targets_are_dealt_where_only_a_little_is_learnt():
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 4, (256,), generator=torch.Generator().manual_seed(3))
    random = seen(lambda: nn.Linear(8, 4), (x, y), functional.cross_entropy, sgd(0.3))
    assert 0 < random.gain < 0.05
    assert len(random.dealt) == 5
    assert random.unpaired()
    assert random.failing
    assert not random.above_floor()


def test_a_slow_training_is_continued_along_its_tangent_to_the_owners_number_of_steps():
    data = regression()
    slow = seen(lambda: mlp(4, 8, 2), data, optimizer=sgd(4e-3), steps=5000)
    short = seen(lambda: mlp(4, 8, 2), data, optimizer=sgd(4e-3), steps=100)
    assert slow.gain == short.gain
    assert slow.outlook > slow.gain
    assert math.isnan(short.outlook)


def test_attempts_end_where_the_loss_is_not_finite():
    capture = seen(lambda: mlp(4, 2), regression(), lambda o, y: functional.mse_loss(o, y) / 0.0)
    assert capture.own.losses.size == 1
    assert not capture.trial(LEARNING_RATE)


def test_what_cannot_be_trained_is_not_applicable():
    data = regression()
    with pytest.raises(NotApplicable, match="no loss"):
        training(Subject("s", lambda seed: Setup(mlp(4, 2), Batch((data[0],)))), BUDGETS["quick"], 0)
    with pytest.raises(NotApplicable, match="no optimiser"):
        training(Subject("s", lambda seed: Setup(mlp(4, 2), Batch((data[0],), targets=data[1]), functional.mse_loss)), BUDGETS["quick"], 0)
    with pytest.raises(NotApplicable, match="requires a gradient"):
        seen(lambda: mlp(4, 2).requires_grad_(False), data)


def test_a_given_model_is_left_as_it_was():
    model, (x, y) = mlp(4, 8, 2), regression()
    before = [p.detach().clone() for p in model.parameters()]
    setup = Setup(model, Batch((x,), targets=y), functional.mse_loss, sgd(1e-6))
    training(Subject("given", lambda seed: setup, fresh=False), BUDGETS["quick"], 0)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(model.parameters(), before, strict=True))


def test_gain_of_attempts():
    capture = seen(lambda: mlp(4, 16, 2), regression(), optimizer=adam())
    reached = float(np.mean(capture.own.losses[-10:]))
    assert capture.own.reached == pytest.approx(reached)
    assert capture.own.gain == pytest.approx((capture.own.constant - reached) / capture.own.constant)
