"""The recorded graph, the functions that end a model, nested values, and an experiment step by step."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.experiment import Experiment, evaluated, made_optimizer, require_training, samples_in
from gradcheck_suite.probes.graph import Authors, leaves, name_of, nodes, source_in
from gradcheck_suite.probes.nested import mapped, replaced
from gradcheck_suite.probes.tail import Makers, tail_of
from gradcheck_suite.subject import Batch, Setup
from tests.probes.small import mlp, regression, sgd


def test_nodes_are_met_once_and_named_after_their_operation():
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    names = [name_of(node) for node in nodes((torch.softmax(y, 0) * y).sum())]
    assert names[0] == "sum"
    assert names.count("exp") == 1
    assert "softmax" in names


def test_leaves_are_those_that_a_backward_pass_would_fill():
    x, w, frozen = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True), torch.ones(2)
    assert {id(leaf) for leaf in leaves((x * w * frozen).sum())} == {id(x), id(w)}
    assert leaves(x) == [x]


def test_nodes_know_the_innermost_module_that_made_them():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 2)))
    with Authors(model) as authors:
        loss = model(torch.ones(1, 3)).exp().sum()
    made = {name_of(node): authors.of(node) for node in nodes(loss)}
    assert made["tanh"] == "1.0"
    assert made["exp"] is None


def test_the_line_of_the_user_is_told_from_torchs():
    frames = [(torch.__file__, 3), ("/home/me/model.py", 41), (torch.__file__, 9)]
    text = "".join(f'  File "{file}", line {line}, in f\n' for file, line in frames)
    assert source_in(text) == "/home/me/model.py:41"
    assert source_in("nothing") is None


TAILS = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda z: torch.softmax(z, -1),
    "log_softmax": lambda z: functional.log_softmax(z, 1),
    "hardtanh": lambda z: functional.hardtanh(z, -2, 3),
    "clamp": lambda z: z.clamp(-0.5, 0.5),
    "clamp_min": lambda z: z.clamp_min(0.1),
    "elu": functional.elu,
    "softplus": functional.softplus,
    "pow": lambda z: z**2,
}


@pytest.mark.parametrize("name", TAILS)
def test_the_function_at_the_end_is_rebuilt_from_the_graph(name):
    z = torch.randn(4, 3, requires_grad=True)
    tail = tail_of(TAILS[name](z * 1.0), {})
    assert tail.names == (name,)
    assert torch.allclose(tail.apply(z), TAILS[name](z))
    assert torch.equal(tail.apply(z, dropped=1), z)


def test_several_functions_are_listed_from_the_inside_with_the_module_of_the_innermost():
    model = nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Sigmoid())
    with Makers(model) as makers:
        output = model(torch.randn(5, 3)).squeeze(1)
    tail = tail_of(output, makers.paths)
    assert (tail.names, tail.module) == (("relu", "sigmoid"), "1")
    assert tail.shape == (5, 1)
    assert tail.apply(torch.ones(5, 1)).shape == (5,)


def test_a_softmax_whose_samples_are_not_the_outputs_is_left_alone():
    z = torch.randn(6, 3, requires_grad=True) * 1.0
    assert tail_of(torch.softmax(z, 1).view(2, 3, 3), {}) is None
    assert tail_of(torch.softmax(z.view(2, 3, 3), -1), {}).shape == (2, 3, 3)


def test_a_model_that_ends_in_a_layer_has_no_tail():
    assert tail_of(mlp(4, 2)(torch.randn(3, 4)), {}) is None


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Record:
    value: torch.Tensor
    name: str


def test_nested_values_are_rebuilt_in_their_own_types():
    value = {"pair": Pair(torch.ones(1), torch.zeros(1)), "list": [torch.ones(2), 3], "record": Record(torch.ones(1), "n"),
             "ordered": OrderedDict(a=torch.ones(1))}
    doubled = mapped(value, lambda tensor: 2 * tensor)
    assert isinstance(doubled["pair"], Pair)
    assert isinstance(doubled["record"], Record)
    assert isinstance(doubled["ordered"], OrderedDict)
    assert float(doubled["record"].value) == 2.0
    assert float(value["record"].value) == 1.0
    assert doubled["list"][1] == 3


def test_only_floating_tensors_are_replaced():
    value = (torch.ones(2), torch.tensor([1, 2]), torch.zeros(2))
    first, whole, last = replaced(value, [torch.full((2,), 5.0), torch.full((2,), 6.0)])
    assert float(first[0]) == 5.0
    assert whole is value[1]
    assert float(last[0]) == 6.0


def setup(model: nn.Module, **facts) -> Setup:
    x, y = regression()
    return Setup(model, Batch((x,), targets=y), **{"loss": functional.mse_loss, "optimizer": sgd(), **facts})


def test_a_step_of_an_experiment_is_a_step_of_the_optimiser():
    model = nn.Linear(4, 2)
    before = model.weight.detach().clone()
    run = Experiment(setup(model), 0)
    run.gradients()
    gradient = model.weight.grad.clone()
    run.step()
    assert torch.allclose(model.weight, before - 0.1 * gradient)


def test_an_optimiser_that_needs_a_closure_gets_one():
    run = Experiment(setup(nn.Linear(4, 2), optimizer=lambda parameters: torch.optim.LBFGS(parameters, lr=1.0)), 0)
    first = float(run.gradients())
    for _ in range(3):
        run.step()
    assert float(run.loss().detach()) < 0.1 * first


def test_what_fails_is_told_with_its_stage():
    def broken(parameters):
        raise ValueError("no")

    with pytest.raises(SubjectError) as caught:
        made_optimizer(setup(nn.Linear(4, 2), optimizer=broken))
    assert caught.value.stage == "optimizer"
    with pytest.raises(SubjectError) as caught:
        Experiment(setup(nn.Linear(5, 2)), 0).output()
    assert caught.value.stage == "forward"


def test_training_is_demanded_where_it_is_needed():
    require_training(setup(nn.Linear(4, 2)))
    with pytest.raises(NotApplicable, match="optimiser"):
        require_training(setup(nn.Linear(4, 2), optimizer=None))


def test_the_samples_are_the_leading_axis_that_inputs_and_outputs_share():
    batch = Batch((torch.zeros(5, 3),))
    assert samples_in(torch.zeros(5, 2), batch) == 5
    assert samples_in((torch.zeros(5), torch.zeros(5, 2)), batch) == 5
    assert samples_in((torch.zeros(5), torch.zeros(4)), batch) == 0
    assert samples_in(torch.zeros(7, 2), batch) == 0
    assert samples_in(torch.zeros(()), batch) == 0


def test_evaluation_leaves_the_modes_as_they_were():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4).eval())
    x = torch.randn(6, 4)
    assert torch.equal(evaluated(model, lambda: model(x)), evaluated(model, lambda: model(x)))
    assert [module.training for module in model] == [True, False]
