"""Pooling layers alone: which are judged, what they do to a norm."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.pooling_calls import pooling_calls
from gradcheck_suite.subject import Batch, Setup, Subject


def capture(module, *shape):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(nn.Sequential(module, nn.Tanh()), Batch((torch.randn(shape),)))

    return pooling_calls(Subject("model", setup), BUDGETS["quick"], 0)


@pytest.mark.parametrize(("module", "shape", "window", "expected"), [
    (nn.MaxPool2d(2), (3, 2, 6, 6), 4, 1.0), (nn.MaxPool1d(3), (3, 2, 10), 3, 1.0), (nn.MaxPool3d(2), (1, 2, 4, 4, 4), 8, 1.0),
    (nn.AvgPool2d((2, 3)), (3, 2, 6, 6), 6, 6**-0.5), (nn.AvgPool1d(2), (3, 2, 8), 2, 2**-0.5),
    (nn.AdaptiveAvgPool2d(1), (3, 2, 5, 4), 20, 20**-0.5),
    (nn.AdaptiveMaxPool1d(2), (3, 2, 8), 4, 1.0),
])
def test_the_norm_is_as_expected(module, shape, window, expected):
    seen = capture(module, *shape)
    assert seen.window.tolist() == [window]
    assert seen.expected[0] == pytest.approx(expected)
    assert seen.ratio[0] == pytest.approx(expected, rel=1e-14)


def test_the_error_does_not_grow_with_the_size():
    seen = capture(nn.AdaptiveAvgPool2d(1), 4, 512, 32, 32)
    assert abs(float(seen.ratio[0] / seen.expected[0]) - 1) <= 16 * 2.0**-53


@pytest.mark.parametrize(("module", "shape"), [
    (nn.MaxPool2d(3, 2), (3, 2, 7, 7)), (nn.MaxPool2d(2, padding=1), (3, 2, 6, 6)), (nn.AvgPool2d(2, ceil_mode=True), (3, 2, 5, 5)),
    (nn.AdaptiveAvgPool2d(2), (3, 2, 5, 5)), (nn.MaxPool2d(2, 2, dilation=2), (3, 2, 8, 8)), (nn.LPPool2d(2, 2), (3, 2, 6, 6)),
])
def test_other_windows_are_not_judged(module, shape):
    with pytest.raises(NotApplicable, match="disjoint windows"):
        capture(module, *shape)
