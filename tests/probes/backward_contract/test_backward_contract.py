import pytest
import torch
from torch import nn
from torch.autograd import Function

from gradcheck_suite.captures import codec
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.backward_contract import backward_contract
from gradcheck_suite.probes.configuration_sweep import configuration_sweep
from gradcheck_suite.probes.second_order import second_order
from gradcheck_suite.subject import Batch, Setup, Subject

from ..configuration_sweep.specimens import subject


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        y = x * x
        ctx.kept = y
        return y

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class WritesUpstream(Square):
    @staticmethod
    def backward(ctx, g):
        return g.mul_(2).mul_(ctx.saved_tensors[0])


class WritesUpstreamBehindItsBack(Square):
    @staticmethod
    def backward(ctx, g):
        result = Square.backward(ctx, g)
        g.data.zero_()
        return result


class WritesInput(Square):
    @staticmethod
    def backward(ctx, g):
        result = Square.backward(ctx, g)
        ctx.saved_tensors[0].data.add_(1.0)
        return result


class WritesOutput(Square):
    @staticmethod
    def backward(ctx, g):
        ctx.kept.data.neg_()
        return Square.backward(ctx, g)


class DrawsAnew(Square):
    @staticmethod
    def backward(ctx, g):
        return Square.backward(ctx, g) * (1 + 1e-3 * torch.rand_like(g))


class TooLarge(Function):
    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @staticmethod
    def backward(ctx, g):
        return g, g.float()


class Frees(Square):
    """Backward works once."""

    @staticmethod
    def backward(ctx, g):
        kept = ctx.kept
        ctx.kept = None
        return g * 2 * kept / ctx.saved_tensors[0]


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.bias = nn.Parameter(torch.ones(3)) if function is TooLarge else None

    def forward(self, x):
        return self.function.apply(x) if self.bias is None else self.function.apply(x, self.bias)


def found(function, **facts):
    torch.manual_seed(0)
    return backward_contract(subject(nn.Linear(3, 3), Apply(function), nn.Linear(3, 3), **facts), BUDGETS["standard"], 0)


def counts(function):
    return {clause.clause: clause.count for clause in found(function).clauses}


def test_a_backward_pass_that_keeps_its_contract():
    capture = found(Square)
    assert {clause.clause: clause.count for clause in capture.clauses} == dict.fromkeys(
        ("incoming gradient", "inputs", "outputs", "shape", "dtype", "repetition"), 0)
    assert {(clause.module, clause.function) for clause in capture.clauses} == {("1", "Square")}
    assert codec.decode(codec.encode(capture)) == capture


@pytest.mark.parametrize(("function", "clause"), [
    (WritesUpstream, "incoming gradient"), (WritesUpstreamBehindItsBack, "incoming gradient"), (WritesInput, "inputs"),
    (WritesOutput, "outputs"), (DrawsAnew, "repetition"),
])
def test_what_it_changes_is_counted(function, clause):
    assert counts(function)[clause] == 12


def test_shapes_and_dtypes_of_what_it_returns():
    clauses = {clause.clause: clause for clause in found(TooLarge).clauses}
    assert (clauses["shape"].count, clauses["dtype"].count) == (1, 1)
    assert clauses["shape"].detail == "(4, 3) for an input of shape (3,)"
    assert clauses["dtype"].detail == "float32 for an input of float64"


def test_a_backward_pass_that_works_once_is_not_asked_twice():
    assert "repetition" not in counts(Frees)


class Narrow(nn.Module):
    """A layer on a float32 constant that it writes out itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.layer(torch.ones(4, 3, dtype=torch.float32))


def test_a_model_that_does_not_run_in_float64_is_watched_in_its_own_precision():
    def setup(seed):
        torch.manual_seed(0)
        return Setup(nn.Sequential(Narrow(), Apply(WritesInput)), Batch((torch.randn(4, 3),)))

    narrow = Subject("narrow", setup)
    assert {clause.clause: clause.count for clause in backward_contract(narrow, BUDGETS["standard"], 0).clauses}["inputs"] == 12
    with pytest.raises(NotApplicable, match="does not run in float64: RuntimeError: mat1"):
        second_order(narrow, BUDGETS["standard"], 0)
    with pytest.raises(NotApplicable, match="does not run in float64: RuntimeError: mat1"):
        configuration_sweep(narrow, BUDGETS["standard"], 0)


def test_the_class_is_left_as_it_was():
    before = vars(WritesUpstream).copy()
    found(WritesUpstream)
    assert dict(vars(WritesUpstream)) == before
    found(type("Inherits", (Square,), {}))
    assert "backward" in vars(Square)


def test_a_declared_mismatch_carries_its_reason():
    assert {clause.intended for clause in found(DrawsAnew, intended={"DrawsAnew": "noise is wanted"}).clauses} == {"noise is wanted"}


def test_without_a_custom_function_there_is_no_contract():
    with pytest.raises(NotApplicable, match="no custom Function"):
        backward_contract(subject(nn.Linear(3, 3), nn.Tanh()), BUDGETS["standard"], 0)
