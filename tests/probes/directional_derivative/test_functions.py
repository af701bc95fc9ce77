"""Custom functions: names, lines, isolated checks, however apply was reached."""

import inspect

import pytest
import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source, recorded, source_of, wrong_functions
from gradcheck_suite.probes.directional_derivative.graph import survey
from gradcheck_suite.probes.directional_derivative.units import ModuleCall
from tests.probes.directional_derivative.models import DOUBLE, Formula, Scaled
from tests.probes.directional_derivative.models import recorded as calls_of


class Cube(torch.autograd.Function):
    """x³ with a separate context and a missing factor."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0] ** 2


class Child(Scaled):
    """Inherits its forward pass."""


@pytest.fixture(scope="module")
def operation():
    @torch.library.custom_op("directional_derivative_tests::square", mutates_args=())
    def square(x: torch.Tensor) -> torch.Tensor:
        return x * x

    def backward(ctx, gradient):
        return 3 * gradient * ctx.saved_tensors[0]

    square.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]))
    return square, backward


def test_the_line_is_that_of_the_backward_pass():
    line = inspect.getsourcelines(Cube.backward)[1]
    assert function_name(Cube) == "Cube"
    assert function_source(Cube).endswith(f"test_functions.py:{line}")


def test_registered_operations_have_their_own_name_and_line(operation):
    square, backward = operation
    (function,) = survey([square(torch.ones(2, requires_grad=True))]).functions
    assert function_name(function) == "directional_derivative_tests::square"
    assert function_source(function) == source_of(backward)


def test_calls_are_recorded_through_a_bound_apply_and_the_class_is_left_as_it_was():
    bound, before = Child.apply, Child.__dict__.get("forward")
    with recorded([Scaled, Child]) as calls:
        bound(torch.ones(2, requires_grad=True), 1.0)
    assert [function for function, _ in calls] == [Child]
    assert len(calls[0][1]) == 2
    assert Child.__dict__.get("forward") is before


def test_the_wrong_one_of_two_is_found():
    def forward(_, x):
        return Cube.apply(Scaled.apply(x, 1.0))

    calls, around = calls_of(Formula(forward), torch.randn(3, dtype=DOUBLE))
    unit = ModuleCall(calls[0], around)
    assert wrong_functions(unit, [Scaled, Cube], Draws(0)) == [Cube]


def test_a_function_without_source_has_no_line():
    assert source_of(torch.relu) is None
