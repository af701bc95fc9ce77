"""Patterns in words, against gradients that are off in known ways."""

import pytest
import torch

from gradcheck_suite.probes.directional_derivative.patterns import Samples, pattern

RIGHT = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def words(wrong, right=RIGHT, missing=False, sizes=(5,)):
    indices = torch.arange(right.numel())
    return pattern(Samples(wrong, indices, right.reshape(-1), 1e-12), missing, sizes)


def row_scaled(factor):
    wrong = RIGHT.clone()
    wrong[2] *= factor
    return wrong


def entry_scaled():
    wrong = RIGHT.clone()
    wrong[1, 3] *= 1.001
    return wrong


@pytest.mark.parametrize(("wrong", "expected"), [
    (1.01 * RIGHT, "1.01 times the derivative"),
    (-RIGHT, "the sign is wrong"),
    (RIGHT / 5, "averaged over 5 instead of summed"),
    (RIGHT * 5, "summed over 5 instead of averaged"),
    (RIGHT.T.clone(), "transposed"),
    (RIGHT.flip(0), "reversed along axis 0"),
    (RIGHT.roll(1, 1), "shifted by one along axis 1"),
    (row_scaled(0.5), "one slice, index 2 along axis 0, there 0.5 times"),
    (row_scaled(0.0), "zero in one slice, index 2 along axis 0"),
    (entry_scaled(), "one entry, [1, 3]"),
    (torch.zeros_like(RIGHT), "the gradient is zero"),
    (RIGHT + 0.25, "too large by the same 0.25 everywhere"),
    (RIGHT * float("nan"), "not finite"),
])
def test_an_error_is_recognised(wrong, expected):
    assert expected in words(wrong)


def test_nothing_arrives():
    assert words(torch.zeros_like(RIGHT), missing=True) == "no gradient arrives (None)"


def test_a_gradient_where_none_is_due():
    assert "where the derivative is zero" in words(RIGHT, torch.zeros_like(RIGHT))


def test_no_pattern_and_no_error_are_silent():
    other = torch.randn(4, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert words(other) == ""
    assert words(RIGHT.clone()) == ""
