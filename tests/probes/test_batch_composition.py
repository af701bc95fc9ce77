"""Outputs that are tables of all pairs of samples, and outputs that only look like one."""

import pytest
import torch
from torch import nn

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.batch_composition import batch_composition
from tests.probes.small import Function, subject


def mixing(make, data):
    return batch_composition(subject(make, data), BUDGETS["quick"], 1)


@pytest.mark.parametrize("leaky", [False, True])
def test_a_table_of_all_pairs_relates_samples_by_what_it_is(leaky):
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.text = nn.Linear(3, 5), nn.Linear(3, 5)

        def forward(self, x):
            image, text = self.image(x), self.text(x.flip(1))
            return image @ text.softmax(0 if leaky else 1).T, image

    capture = mixing(Pairs, (torch.randn(6, 3), None))
    assert (capture.mixing.module is not None) is leaky
    assert (capture.mixing.change > 1e-3) is leaky
    assert (capture.mixing.gradient > 1e-3) is leaky


class Beside(nn.Module):
    """As many classes as samples; the mean over the batch is added to the logits, or to all but a sample's own number."""

    def __init__(self, table, leaky):
        super().__init__()
        self.classify, self.table, self.leaky = nn.Linear(3, 6), table, leaky

    def forward(self, x):
        y = self.classify(x)
        logits = y + (1 - torch.eye(6)[: len(y)]) * y.mean(0) if self.leaky else y
        return (x @ x.T, logits) if self.table else logits


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("leaky", [False, True])
def test_as_many_classes_as_samples_make_no_table_of_pairs(table, leaky):
    capture = mixing(lambda: Beside(table, leaky), (torch.randn(6, 3), None))
    assert (capture.mixing.module is not None) is leaky
    assert (capture.mixing.change > 1e-3) is leaky
    assert (capture.mixing.gradient > 1e-3) is leaky


def test_a_table_of_views_that_come_in_pairs_and_one_of_two_samples():
    def paired(x):
        first, second = x.reshape(2, len(x) // 2, 3).unbind(0)
        views = torch.cat([first + 1, second])
        return views @ views.T

    for samples in (6, 2):
        assert mixing(lambda: nn.Sequential(nn.Linear(3, 3), Function(paired)), (torch.randn(samples, 3), None)).mixing.module is None
