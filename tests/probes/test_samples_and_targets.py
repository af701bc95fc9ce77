"""Who depends on whom: samples, positions, targets, and the leaves of the graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.batch_composition import batch_composition
from gradcheck_suite.probes.graph_leaves import graph_leaves
from gradcheck_suite.probes.target_pairing import target_pairing
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import Function, adam, classes, mlp, regression, sgd, subject

BUDGET = BUDGETS["quick"]


def mixing(make, data=None, **options):
    return batch_composition(subject(make, data or regression(), **options), BUDGET, 1)


class Mixed(nn.Module):
    """Two dense layers with something between them."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last = nn.Linear(4, 8), between, nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.between(self.first(x)))


LEAKS = {
    "mean over the batch": lambda h: h - h.mean(0),
    "softmax over the batch": lambda h: torch.softmax(h, 0),
    "reshape over the batch": lambda h: h.T.reshape(h.shape),
    "sum so far": lambda h: h.cumsum(0),
    "rolled": lambda h: h.roll(1, 0),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_between_samples_is_found_and_placed(name):
    capture = mixing(lambda: Mixed(Function(LEAKS[name])))
    assert capture.mixing.module == "between"
    assert capture.mixing.change > 1e-3
    assert capture.mixing.gradient > 0
    assert capture.related == ""


NOISE = Function(lambda h: h + 0.1 * torch.randn_like(h))


@pytest.mark.parametrize("between", [nn.BatchNorm1d(8), nn.Dropout(0.5), nn.LayerNorm(8), NOISE])
def test_layers_that_keep_samples_apart_in_evaluation_mode(between):
    capture = mixing(lambda: Mixed(between))
    assert capture.mixing.module is None
    assert capture.mixing.change == 0.0
    assert capture.mixing.gradient == 0.0
    assert decode(encode(capture)) == capture


def test_an_input_that_relates_the_samples_is_a_fact():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x, adjacency):
            return adjacency @ self.layer(x)

    x, y = regression()
    capture = mixing(Graph, ((x, torch.rand(16, 16)), y))
    assert "relates the samples" in capture.related


def test_samples_on_the_second_axis_are_a_fact_where_they_do_not_mix():
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    x = torch.randn(9, 16, 3, generator=torch.Generator().manual_seed(0))
    assert "second axis" in mixing(Sequence, (x, torch.zeros(9, 16, 2))).related


class Rows(nn.Module):
    """A sum over the first two axes beside a layer of the last; samples on the third, or on none."""

    def __init__(self, *others):
        super().__init__()
        self.layer, self.axes = nn.Linear(3, 3), (0, 1, *others)

    def forward(self, x):
        return self.layer(x) + x.sum(self.axes, keepdim=True)


def test_samples_on_the_third_axis_are_a_fact_where_they_do_not_mix():
    x = torch.randn(4, 5, 6, 3, generator=torch.Generator().manual_seed(0))
    assert "third axis" in mixing(Rows, (x, torch.zeros(4, 5, 6, 3))).related
    assert mixing(lambda: Rows(2), (x, torch.zeros(4, 5, 6, 3))).related == ""


def tokens(shift: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randint(0, 6, (16, 8 + shift), generator=torch.Generator().manual_seed(0))
    return x[:, :-shift], x[:, shift:]


class Tokens(nn.Module):
    """Embedding, a mixing of positions, classes."""

    def __init__(self, mix):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(6, 8), mix, nn.Linear(8, 6)

    def forward(self, x):
        return self.out(self.mix(self.embed(x)))


def token_loss(output, targets):
    return functional.cross_entropy(output.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize("shift", [1, 2])
def test_targets_that_are_later_inputs_are_recognised(shift):
    capture = mixing(lambda: Tokens(Function(lambda h: h.cumsum(1))), tokens(shift), loss=token_loss)
    assert (capture.shift, capture.positions) == (shift, 8)
    assert capture.foresight.module is None
    assert capture.foresight.change == 0.0


@pytest.mark.parametrize("look", [lambda h: h - h.mean(1, keepdim=True), lambda h: h + h.roll(-1, 1)])
def test_a_look_into_the_future_is_found_and_placed(look):
    capture = mixing(lambda: Tokens(Function(look)), tokens(), loss=token_loss)
    assert capture.foresight.module == "mix"
    assert capture.foresight.change > 1e-3


def test_other_targets_say_nothing_of_time():
    assert mixing(lambda: mlp(4, 2)).foresight is None


def pairing(make, data, loss=functional.mse_loss):
    return target_pairing(subject(make, data, loss), BUDGET, 1)


def relative(capture) -> float:
    return float(abs(capture.permuted - capture.loss).max() / abs(capture.loss))


def test_a_loss_over_pairs_changes_under_permutations():
    assert relative(pairing(lambda: mlp(4, 2), regression())) > 1e-2
    assert relative(pairing(lambda: mlp(4, 3), classes(), functional.cross_entropy)) > 1e-3


def broadcast(output, targets):
    return (output - targets).square().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_broadcast_loss_does_not(dtype):
    x, y = regression(outputs=1)
    capture = pairing(lambda: mlp(4, 8, 1).to(dtype), (x.to(dtype), y[:, 0].to(dtype)), broadcast)
    assert relative(capture) < 1e-6
    assert (capture.output_shape, capture.target_shape) == ((16, 1), (16,))
    assert relative(pairing(lambda: mlp(4, 8, 1).to(dtype), (x.to(dtype), y.to(dtype)), broadcast)) > 1e-2


def test_random_outputs_stay_in_the_range_of_the_last_activation():
    x, _ = regression()
    y = (torch.arange(16) % 2).float()[:, None]
    capture = pairing(lambda: mlp(4, 1, last=nn.Sigmoid()), (x, y), functional.binary_cross_entropy)
    assert capture.loss > 0
    assert relative(capture) > 1e-3


def test_what_is_all_equal_is_counted():
    x, y = regression()
    capture = pairing(lambda: mlp(4, 2), (x[:1].expand(16, 4), torch.ones_like(y)))
    assert capture.inputs_equal
    assert capture.targets_equal
    usual = pairing(lambda: mlp(4, 2), (x, y))
    assert not usual.inputs_equal
    assert not usual.targets_equal
    assert usual.input_scale == pytest.approx(float(x.square().mean().sqrt()))


@pytest.mark.parametrize(("loss", "crest"), [
    (lambda o, t: functional.cosine_similarity(o, t, dim=1).mean(), True),
    (lambda o, t: 1 - functional.cosine_similarity(o, t, dim=1).mean(), False),
    (lambda o, t: torch.exp(-(o - t).square().sum(1)).mean(), True),
    (functional.mse_loss, False),
    (lambda o, t: functional.binary_cross_entropy_with_logits(o, t.sigmoid()), False),
    (functional.poisson_nll_loss, False),
    (lambda o, t: (o * t).mean(), False),
])
def test_targets_that_are_the_worst_outputs(loss, crest):
    assert pairing(lambda: mlp(4, 8, 2), regression(), loss).crest == crest


def test_a_subject_without_a_loss_has_no_pairing():
    with pytest.raises(NotApplicable):
        target_pairing(Subject("s", lambda seed: Setup(mlp(4, 2), Batch((regression()[0],)))), BUDGET, 0)


def leaves(make, optimizer=None):
    return graph_leaves(subject(make, regression(), optimizer=optimizer), BUDGET, 1)


class Listed(nn.Module):
    """Layers in a list, a tensor as an attribute, both outside ``parameters()``."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.hidden = [nn.Linear(4, 8)]
        self.scale = torch.ones(8, requires_grad=True)

    def forward(self, x):
        return self.head(self.hidden[0](x) * self.scale)


def test_leaves_outside_the_parameters_are_found_with_the_attribute_that_leads_to_them():
    capture = leaves(Listed)
    assert {leaf.place for leaf in capture.foreign} == {"hidden[0].weight", "hidden[0].bias", "scale"}
    assert not any(leaf.held for leaf in capture.foreign)
    assert capture.leaves == 2
    assert decode(encode(capture)) == capture


def test_inputs_that_require_gradients_are_not_leaves_of_the_model():
    x, y = regression()
    capture = graph_leaves(subject(lambda: mlp(4, 2), (x.clone().requires_grad_(), y)), BUDGET, 1)
    assert capture.foreign == ()


class Marking(nn.Module):
    """Adds an axis to its input and marks it, as feature extractors do for checkpointing; or a tensor of its own."""

    def __init__(self, own):
        super().__init__()
        self.own, self.layer = own, nn.Linear(4, 2)

    def forward(self, x):
        x = x[:, None].clone() if not self.own else torch.full((16, 1, 4), 0.5)
        return self.layer(x.requires_grad_()).squeeze(1)


@pytest.mark.parametrize("own", [False, True])
def test_an_input_in_another_shape_is_no_leaf_that_somebody_forgot(own):
    assert bool(leaves(lambda: Marking(own)).foreign) == own


def test_what_the_optimiser_holds_is_compared_with_the_model():
    other = mlp(4, 2)
    partial = leaves(lambda: mlp(4, 8, 2), lambda parameters: torch.optim.SGD(list(parameters)[:2], lr=0.1))
    assert partial.uncovered == ("2.weight", "2.bias")
    foreign = leaves(lambda: mlp(4, 8, 2), lambda parameters: torch.optim.SGD(other.parameters(), lr=0.1))
    assert len(foreign.uncovered) == 4
    assert foreign.strangers == ((2, 4), (2,))
    whole = leaves(lambda: mlp(4, 8, 2), adam())
    assert (whole.uncovered, whole.repeated, whole.strangers) == ((), (), ())
    assert leaves(lambda: mlp(4, 8, 2), sgd()).optimizer == "SGD"
