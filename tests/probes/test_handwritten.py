"""Calls of custom functions: their arguments, the module that made them, and running them again."""

import torch
from torch import nn

from gradcheck_suite.probes.graph import Authors, uses
from gradcheck_suite.probes.handwritten import function_runs


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return factor * x

    @staticmethod
    def backward(ctx, g):
        return ctx.factor * g, None


class Halve(Double):
    pass


class Calling(nn.Module):
    def __init__(self, function, factor):
        super().__init__()
        self.function, self.factor, self.weight = function, factor, nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.function.apply(x * self.weight, self.factor)


def runs_of(model, x, most=None):
    calls = []

    def run():
        calls.append(model(x))
        return calls[-1]

    with Authors(model) as authors:
        output = run()
    return function_runs([output], authors, run, most), calls


def test_each_call_is_told_with_its_arguments_and_its_module():
    x = torch.linspace(0, 1, 3)
    model = nn.Sequential(Calling(Double, 2.0), nn.Tanh(), Calling(Halve, 0.5))
    runs, calls = runs_of(model, x)
    assert [(run.name, run.module, run.args[1]) for run in runs] == [("Double", "0", 2.0), ("Halve", "2", 0.5)]
    assert all("test_handwritten.py:" in run.source for run in runs)
    assert torch.equal(runs[0].args[0], x)
    assert torch.equal(runs[0].output(torch.ones(2)), torch.full((2,), 2.0))
    assert len(calls) == 2


def test_the_nearest_functions_come_first_and_a_plain_model_runs_once():
    x = torch.ones(3)
    runs, _ = runs_of(nn.Sequential(Calling(Double, 2.0), Calling(Halve, 0.5)), x, most=1)
    assert [run.name for run in runs] == ["Halve"]
    runs, calls = runs_of(nn.Sequential(nn.Linear(3, 3)), x)
    assert (runs, len(calls)) == ([], 1)


def test_uses_of_a_leaf_are_counted_with_their_nodes():
    weight, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    taken = uses((weight * other).exp() + weight.sin())
    assert {key: sorted(type(node).__name__ for node in nodes) for key, nodes in taken.items()} == {
        id(weight): ["MulBackward0", "SinBackward0"], id(other): ["MulBackward0"]}
