"""Padding rows: which tables are judged, and what trains the row that stands for nothing."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.padding_rows import padding_rows
from gradcheck_suite.subject import Batch, Setup, Subject

TOKENS = torch.tensor([[1, 0, 2, 4], [3, 3, 0, 0]])


class Forgetful(nn.Embedding):
    def forward(self, x):
        return functional.embedding(x, self.weight)


class Indexing(nn.Embedding):
    def forward(self, x):
        return self.weight[x]


class Scaled(nn.Embedding):
    def forward(self, x):
        return 2 * super().forward(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(self.table(x))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 3, padding_idx=0)

    def forward(self, x):
        return self.table(x) * self.table(x.flip(1))


def hooked():
    table = nn.Embedding(5, 3, padding_idx=0)
    table.weight.register_hook(lambda gradient: gradient + 1e-9)
    return table


def of(make, loss=None, intended=()):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(nn.Sequential(make(), nn.Tanh()), Batch((TOKENS,)), loss, intended=dict.fromkeys(intended, "meant"))

    return padding_rows(Subject("model", setup), BUDGETS["quick"], 0)


@pytest.mark.parametrize(("make", "path", "calls", "padded"), [
    (lambda: nn.Embedding(5, 3, padding_idx=0), "0", 1, 3), (lambda: nn.Embedding(5, 3, padding_idx=-1), "0", 1, 1),
    (lambda: nn.Embedding(5, 3, padding_idx=0, sparse=True), "0", 1, 3),
    (lambda: nn.EmbeddingBag(5, 3, padding_idx=0), "0", 1, 3), (lambda: Scaled(5, 3, padding_idx=0), "0", 1, 3), (Twice, "0.table", 2, 6),
])
def test_the_row_for_padding_has_no_gradient(make, path, calls, padded):
    seen = of(make)
    assert (seen.paths, seen.calls.tolist(), seen.padded.tolist(), seen.largest.tolist()) == ((path,), [calls], [padded], [0.0])
    assert seen.table[0] > 0


@pytest.mark.parametrize("make", [lambda: Forgetful(5, 3, padding_idx=0), lambda: Indexing(5, 3, padding_idx=0), hooked])
def test_a_lookup_that_forgets_the_padding_and_a_hook_are_seen(make):
    assert of(make).largest[0] > 0


@pytest.mark.parametrize("make", [Tied, lambda: nn.Embedding(5, 3), lambda: nn.Linear(4, 4).double(),
                                  lambda: nn.Embedding(5, 3, padding_idx=0).requires_grad_(False)])
def test_other_tables_are_not_judged(make):
    def setup(seed):
        torch.manual_seed(seed)
        model = make()
        return Setup(model, Batch((TOKENS.double() if isinstance(model, nn.Linear) else TOKENS,)), lambda output, _: output.sum())

    with pytest.raises(NotApplicable):
        padding_rows(Subject("model", setup), BUDGETS["quick"], 0)


def test_a_penalty_that_reads_the_table_excuses_its_gradient():
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Tanh())
    setup = Setup(model, Batch((TOKENS,)), lambda output, _: output.sum() + model[0].weight.square().sum())
    subject = Subject("model", lambda seed: setup, fresh=False)
    with pytest.raises(NotApplicable, match="table of its own"):
        padding_rows(subject, BUDGETS["quick"], 0)


def test_a_declared_mismatch_is_left_out():
    with pytest.raises(NotApplicable):
        of(hooked, intended=("0",))


def test_the_model_is_as_it_was():
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Dropout())
    model[0].weight.grad = torch.ones(5, 3)
    before, state = model[0].weight.detach().clone(), torch.get_rng_state()
    padding_rows(Subject("model", lambda seed: Setup(model, Batch((TOKENS,))), fresh=False), BUDGETS["quick"], 0)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(model[0].weight.grad, torch.ones(5, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert not model[0]._forward_hooks
