"""The first steps: what is counted bit by bit, on models whose answer is known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.first_steps import first_steps
from gradcheck_suite.subject import Batch, Setup, Subject


def sgd(rate: float = 0.1, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)


def seen(make: Callable[[], nn.Module], optimizer: Any = None, loss: Any = functional.mse_loss) -> FirstSteps:
    def setup(seed: int) -> Setup:
        torch.manual_seed(seed)
        model = make()
        batch = Batch((torch.randn(16, 4),), targets=torch.randn(16, 2))
        return Setup(model, batch, loss, optimizer or sgd())

    return first_steps(Subject("s", setup), BUDGETS["quick"], 3)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def test_a_healthy_network_moves_everywhere_and_downhill():
    capture = seen(net)
    assert capture.steps == capture.planned == 3
    assert capture.connected
    assert capture.stepped
    assert not capture.missing.any()
    assert not capture.zero.any()
    assert not capture.stuck.any()
    assert not capture.identical.any()
    assert (capture.progress + capture.progress_error < 0).all()
    assert capture.samples == 16
    assert capture.inputs_differ
    assert (capture.spread > 0).all()
    assert decode(encode(capture)).parameters == capture.parameters


def test_the_change_of_the_loss_agrees_with_progress_for_a_small_rate():
    capture = seen(net, sgd(1e-3))
    falls = capture.losses[1:] - capture.losses[:-1]
    assert falls == pytest.approx(capture.progress[:-1], rel=0.05)


def test_ascent_shows_as_positive_progress():
    capture = seen(net, sgd(maximize=True))
    assert (capture.progress - capture.progress_error > 0).all()


def test_a_rate_below_the_resolution_of_the_weights_leaves_them_unchanged():
    capture = seen(net, sgd(1e-10))
    assert capture.stuck.sum() > 0.9 * capture.moving.sum()


def test_missing_zero_and_unused_gradients_are_told_apart():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.dead, self.unused, self.head = (nn.Linear(4, 4) for _ in range(4))
            self.out = nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.cut(x).detach() + 0.0 * self.dead(x) + self.head(x))

    capture = seen(Model)
    rows = {f"{fact.module}.{fact.name}": position for position, fact in enumerate(capture.parameters)}
    assert capture.missing[:, rows["cut.weight"]].all()
    assert capture.parameters[rows["cut.weight"]].exercised
    assert capture.zero[:, rows["dead.weight"]].all()
    assert capture.missing[:, rows["unused.weight"]].all()
    assert not capture.parameters[rows["unused.weight"]].exercised
    assert not (capture.missing | capture.zero)[:, rows["head.weight"]].any()


def test_an_expert_that_rests_is_known_by_its_sibling():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 2)) for _ in range(3))

        def forward(self, x):
            return self.experts[1](x)

    capture = seen(Experts)
    assert [fact.alternative for fact in capture.parameters] == [True, True, False, False, True, True]
    assert [fact.exercised for fact in capture.parameters] == [False, False, True, True, False, False]


def test_units_that_start_alike_stay_alike():
    def alike():
        model = net()
        for layer in (model[0], model[2]):
            nn.init.constant_(layer.weight, 0.1)
        nn.init.zeros_(model[0].bias)
        return model

    capture = seen(alike)
    assert capture.identical[:, 0].all()
    assert capture.identical[0, 2]
    assert not capture.identical[1, 2]


def test_frozen_parameters_that_change_are_named():
    class Drifting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.anchor = nn.Linear(4, 2), nn.Parameter(torch.zeros(2), requires_grad=False)

        def forward(self, x):
            self.anchor.data += 1.0
            return self.layer(x) + self.anchor

    assert seen(Drifting).frozen_changes == ("anchor",)
    assert seen(net).frozen_changes == ()


def test_entries_below_the_epsilon_of_the_optimiser_are_counted():
    tiny = seen(net, lambda p: torch.optim.Adam(p, lr=1e-3), lambda out, y: 1e-12 * functional.mse_loss(out, y))
    usual = seen(net, lambda p: torch.optim.Adam(p, lr=1e-3))
    assert tiny.damped.sum() == tiny.moving[-1].sum()
    assert usual.damped.sum() == 0
    assert (seen(net).damped == -1).all()


def test_a_loss_without_a_graph_is_disconnected():
    capture = seen(net, loss=lambda out, y: functional.mse_loss(out.detach(), y))
    assert not capture.connected


def test_steps_end_where_the_loss_is_not_finite():
    capture = seen(net, sgd(1e30))
    assert capture.steps < capture.planned


def test_a_model_that_is_not_fresh_is_left_as_it_was():
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    setup = Setup(model, Batch((torch.randn(16, 4),), targets=torch.randn(16, 2)), functional.mse_loss, sgd())
    first_steps(Subject("s", lambda seed: setup, fresh=False), BUDGETS["quick"], 0)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(model.parameters(), before, strict=True))


def test_a_graph_that_is_carried_from_one_call_to_the_next_is_told():
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.state = nn.Linear(4, 2), torch.zeros(2)

        def forward(self, x):
            self.state = torch.tanh(self.layer(x).mean(0) + self.state)
            return self.layer(x) + self.state

    with pytest.raises(SubjectError, match="keeps the graph of an earlier call: detach what it carries on"):
        seen(Remembering)


class Bare:
    """An optimiser of one's own, which keeps a list and nothing else."""

    def __init__(self, parameters):
        self.parameters = list(parameters)

    def zero_grad(self, set_to_none=True):
        for parameter in self.parameters:
            parameter.grad = None

    def step(self):
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.sub_(0.1 * parameter.grad)


def test_an_optimiser_that_is_none_of_torchs_holds_what_it_was_given():
    def setup(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        return Setup(model, Batch((torch.randn(5, 3),), {}, torch.randn(5, 2)), loss=nn.functional.mse_loss, optimizer=Bare)

    seen = first_steps(Subject("model", setup), BUDGETS["quick"], 0)
    assert seen.steps == 3
    assert seen.losses[-1] < seen.losses[0]
