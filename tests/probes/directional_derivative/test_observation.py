"""Observation and lifting: narrow casts, stopped gradients, tables with a gradient of their own."""

import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.probes.directional_derivative.lifting import Lifting
from gradcheck_suite.probes.directional_derivative.observation import Observation

X = torch.randn(4, dtype=torch.float64).requires_grad_()


def seen(run):
    mode = Observation()
    with mode:
        run()
    return mode.seen


def test_a_cast_to_a_narrower_type_and_its_line():
    found = seen(lambda: torch.tanh(X.float()).double())
    assert found.roundoff == 2.0**-24
    assert "float64 to float32" in found.narrow
    assert "test_observation.py:" in found.narrow


def test_the_narrowest_cast_counts_and_widening_does_not():
    assert seen(lambda: X.float().bfloat16()).roundoff == 2.0**-8
    assert seen(lambda: torch.ones(3).double() * X[:3]).roundoff == 2.0**-53


def test_an_operation_that_gives_a_narrower_number_than_it_was_given():
    targets = torch.ones(4, dtype=torch.float32)
    assert seen(lambda: functional.binary_cross_entropy_with_logits(X, targets).double()).roundoff == 2.0**-24
    assert seen(lambda: functional.mse_loss(X, targets)).roundoff == 2.0**-53


def test_stopped_gradients():
    def stopped():
        with torch.no_grad():
            scale = X * 2
        return X.detach() * X.sum().item() * scale

    words = " ".join(seen(stopped).stopped)
    assert all(word in words for word in ("detach", "no_grad", "item"))
    assert seen(lambda: torch.ones(3).detach()).stopped == []


class Own(torch.autograd.Function):
    """Detaches and stops recording in its own forward pass, as every function does."""

    @staticmethod
    def forward(ctx, x):
        return x.detach() * x.sum().item()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_what_a_custom_function_does_inside_stops_nothing():
    assert seen(lambda: Own.apply(X)).stopped == []


def test_padding_rows_and_scaled_tables():
    table, ids = nn.Parameter(torch.randn(5, 3)), torch.tensor([0, 1])
    assert seen(lambda: functional.embedding(ids, table, padding_idx=1)).padding[0][1] == 1
    assert seen(lambda: functional.embedding(ids, table, scale_grad_by_freq=True)).defined[0] is table


def test_lifting_leaves_casts_out():
    with Lifting():
        made = torch.tanh(X.float()) + torch.zeros(4, dtype=torch.float32) + torch.tensor([1, 2, 3, 4]).to(torch.float32)
        assert made.dtype == torch.float64
        assert torch.tensor([0.5], dtype=torch.float32).dtype == torch.float64
        (gradient,) = torch.autograd.grad(made.half().sum(), X)
    torch.testing.assert_close(gradient, 1 - torch.tanh(X.detach()) ** 2, rtol=1e-14, atol=0)
    assert X.float().dtype == torch.float32
