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


class Deep(nn.Module):
    """Layers under ``no_grad`` and a head; the results of some layers are not used."""

    def __init__(self, depth: int, unused: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.layers, self.head, self.unused = nn.ModuleList(nn.Linear(3, 3) for _ in range(depth)), nn.Linear(3, 1), unused
        self.codes = nn.Parameter(torch.arange(3, dtype=torch.uint8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _PASSES.append(1)
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                x = x if index in self.unused and layer(x) is not None else torch.tanh(layer(x))
        return self.head(x + self.codes)


_PASSES: list[int] = []


def test_the_number_of_passes_is_bounded_whatever_the_number_of_parameters():
    model = Deep(40)
    _PASSES.clear()
    found = without_influence(Experiment(Setup(model, Batch((torch.ones(3),))), 0), list(model.layers.parameters()))
    assert found == set()
    assert len(_PASSES) <= 18


def test_the_last_modules_are_decided_first_and_undecided_ones_count_as_having_influence():
    model = Deep(40, unused=(0, 38))
    found = without_influence(Experiment(Setup(model, Batch((torch.ones(3),))), 0), list(model.layers.parameters()))
    assert found == {id(parameter) for parameter in model.layers[38].parameters()}


def test_any_number_of_parameters_without_influence_is_found_at_once():
    model = Deep(40, unused=tuple(range(40)))
    found = without_influence(Experiment(Setup(model, Batch((torch.ones(3),))), 0), list(model.layers.parameters()))
    assert len(found) == 80


def test_integer_parameters_stay_as_they_are():
    model = Deep(2, unused=(1,))
    found = without_influence(Experiment(Setup(model, Batch((torch.ones(3),))), 0), list(model.layers.parameters()))
    assert found == {id(parameter) for parameter in model.layers[1].parameters()}
    assert model.codes.tolist() == [0, 1, 2]


class Code(nn.Module):
    """A code that two layers decide with their signs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 2), nn.LayerNorm(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x)).argmax(1)


def test_changes_of_sign_that_cancel_do_not_hide_an_influence() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        model = Code()
        run = Experiment(Setup(model, Batch((torch.randn(16, 3),))), seed)
        assert len(without_influence(run, list(model.parameters()))) < len(list(model.parameters()))
