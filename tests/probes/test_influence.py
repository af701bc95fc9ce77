"""Which parameters have no influence, and that asking leaves no trace."""

import torch
from torch import nn

from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.influence import without_influence
from gradcheck_suite.subject import Batch, Setup


class Model(nn.Module):
    """Five parameters, of which two do nothing; ``broken`` says what is wrong with it."""

    def __init__(self, broken: str = "") -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.full((3,), float(index)) for index in range(5))
        self.register_buffer("calls", torch.zeros(()))
        self.broken, self.runs = broken, 0

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        self.runs += 1
        first, second, third, fourth, _ = self.weights
        ended = third.sum() / 0 if self.broken == "infinite" else x * third.round()
        if self.broken == "random":
            ended = ended + len(repr(object())) * torch.randn(3) + next(_COUNTER)
        if self.broken == "raises" and fourth.detach().abs().max() > 5:
            raise ValueError("fourth")
        return {"a": first * x, "b": ended, "codes": second.argmax()}


_COUNTER = iter(range(10_000))


def silent(model: Model) -> list[int]:
    run = Experiment(Setup(model, Batch((torch.ones(3),))), 0)
    found = without_influence(run, list(model.weights))
    return [index for index, weight in enumerate(model.weights) if id(weight) in found]


def test_parameters_that_change_nothing_are_found_among_others():
    assert silent(Model()) == [3, 4]


def test_the_model_is_left_as_it_was():
    model = Model()
    before, state = [weight.detach().clone() for weight in model.weights], torch.get_rng_state()
    silent(model)
    assert all(map(torch.equal, before, model.weights))
    assert float(model.calls) == model.runs == 0
    assert torch.equal(state, torch.get_rng_state())


def test_nothing_is_said_where_runs_are_not_finite_or_do_not_repeat():
    assert not silent(Model("infinite"))
    assert not silent(Model("random"))


def test_a_parameter_that_makes_a_run_fail_has_influence():
    assert silent(Model("raises")) == [4]


def test_no_parameters_have_no_influence():
    assert without_influence(Experiment(Setup(Model(), Batch((torch.ones(3),))), 0), []) == set()
