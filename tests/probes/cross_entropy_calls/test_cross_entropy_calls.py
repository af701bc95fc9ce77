"""Cross entropies alone: where they are found, and what a wrong backward pass does to p minus the target."""

import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.cross_entropy_calls import cross_entropy_calls, finding
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53
X = torch.linspace(-2, 2, 24).reshape(6, 4)
CLASSES = torch.tensor([0, 2, 1, 1, 0, 2])


class Fused(torch.autograd.Function):
    """The mean cross entropy with a gradient of its own: ``factor`` times (p - ``hit`` one-hot)."""

    @staticmethod
    def forward(ctx, logits, target, factor, hit):
        ctx.save_for_backward(logits, target)
        ctx.factor, ctx.hit = factor, hit
        return functional.cross_entropy(logits, target)

    @staticmethod
    def backward(ctx, g):
        logits, target = ctx.saved_tensors
        p = torch.softmax(logits, -1)
        return ctx.factor * g * (p - ctx.hit * functional.one_hot(target, p.shape[-1])) / len(p), None, None, None


def fused(factor=1.0, hit=1.0):
    return lambda logits, target: 2 * Fused.apply(logits, target, factor, hit)


def by_hand(logits, target):
    return (logits.logsumexp(-1) - logits.gather(-1, target[:, None])[:, 0]).mean()


def constant_normalizer(logits, target):
    return (logits.logsumexp(-1).detach() - logits.gather(-1, target[:, None])[:, 0]).mean()


class Losing(nn.Module):
    """A model that computes its loss itself."""

    def __init__(self):
        super().__init__()
        self.layer, self.loss = nn.Linear(4, 3), nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, x):
        return self.loss(self.layer(x), CLASSES)


def of(loss, make=lambda: nn.Linear(4, 3), targets=CLASSES, intended=(), data=X):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((data,), targets=targets), loss, intended=dict.fromkeys(intended, "meant"))

    return cross_entropy_calls(Subject("model", setup), BUDGETS["quick"], 0)


@pytest.mark.parametrize("loss", [
    nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])),
    nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.3),
    lambda y, t: functional.cross_entropy(y.flatten(1), t), lambda y, t: 3 * functional.cross_entropy(y, functional.one_hot(t, 3).to(y)),
    lambda y, t: functional.cross_entropy(y, t, reduction="none").square().sum(),
])
def test_pytorchs_is_found_once_and_right(loss):
    seen = of(loss)
    assert seen.functions == ("cross_entropy",)
    assert seen.paths == (None,)
    assert seen.plain.all()
    assert (seen.classes.tolist(), seen.rows.tolist()) == ([3], [6])
    assert (seen.residual <= 4 * ROUNDOFF).all()
    assert (seen.row_sum <= 4 * ROUNDOFF).all()
    assert (seen.length <= 2**0.5 * (1 + 4 * ROUNDOFF)).all()
    np.testing.assert_array_equal(decode(encode(seen)).residual, seen.residual)


@pytest.mark.parametrize(("loss", "name"), [(by_hand, "by_hand"), (fused(), "Fused")])
def test_a_loss_by_hand_is_recognised(loss, name):
    seen = of(loss)
    place = seen.functions.index(name)
    assert not seen.plain[place]
    assert seen.residual[place] <= 16 * ROUNDOFF
    assert seen.ratio[place] == pytest.approx(1.0)


@pytest.mark.parametrize(("loss", "ratio"), [(fused(factor=-1.0), -1.0), (fused(factor=6.0), 6.0), (fused(hit=0.0), None),
                                             (fused(hit=0.999), None), (constant_normalizer, None)])
def test_a_wrong_gradient_is_seen(loss, ratio):
    seen = of(loss)
    wrong = int(np.argmax(np.where(seen.plain, 0.0, seen.residual)))
    assert seen.residual[wrong] > 1e-4
    assert ratio is None or seen.ratio[wrong] == pytest.approx(ratio)
    assert loss is constant_normalizer or "test_cross_entropy_calls.py:" in seen.sources[wrong]
    assert ratio is not None or seen.row_sum[wrong] > 1e-4


@pytest.mark.parametrize("factor", [-1.0, 1.001])
def test_a_loss_that_turns_the_gradient_before_pytorchs_is_seen_beside_it(factor):
    seen = of(lambda y, t: functional.cross_entropy(factor * y + (1 - factor) * y.detach(), t))
    assert seen.functions == ("cross_entropy", "<lambda>")
    assert seen.residual[0] <= 4 * ROUNDOFF
    assert seen.ratio[1] == pytest.approx(factor)


def test_a_loss_by_hand_is_looked_at_without_keeping_its_graphs_unless_it_is_too_large(monkeypatch):
    alive = []

    def counted(logits, target):
        alive.append(sum(leaf() is not None for leaf in leaves))
        leaves.append(weakref.ref(logits))  # a graph keeps its leaves
        return by_hand(logits, target)

    leaves = []
    assert of(counted).functions == ("counted",)
    assert len(alive) > 3
    assert max(alive) == 1  # the pass itself
    monkeypatch.setattr(finding, "_LARGEST", 17)
    with pytest.raises(NotApplicable, match="no cross entropy"):
        of(by_hand)


def test_a_loss_inside_the_model_is_found_in_its_module():
    seen = of(None, Losing, targets=None)
    assert (seen.paths, seen.functions) == (("loss",), ("cross_entropy",))
    assert seen.residual[0] <= 4 * ROUNDOFF


def test_a_loss_with_weights_of_its_own_precision_is_compared_in_it():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.zeros(3))

        def forward(self, logits, target):
            return functional.nll_loss(functional.log_softmax(logits + self.shift @ torch.ones(3, 3), -1), target)

    class Narrow(nn.Module):
        def forward(self, logits, target):
            return functional.nll_loss(functional.log_softmax(logits @ torch.eye(3), -1), target)

    assert of(Centred()).epsilon[0] == 2.0**-52
    seen = of(Narrow())
    assert seen.epsilon[0] == 2.0**-23
    assert seen.residual[0] <= 16 * 2.0**-24


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.MultiMarginLoss(), lambda y, t: by_hand(y, t) + torch.rand(()),
                                  lambda y, t: by_hand(y, t) + 1e-6 * y.square().sum()])
def test_other_losses_are_none(loss):
    with pytest.raises(NotApplicable, match="no cross entropy"):
        of(loss, targets=torch.zeros(6, 3) if isinstance(loss, nn.MSELoss) else CLASSES)


def test_a_cross_entropy_that_is_not_finite_is_left_out():
    with pytest.raises(NotApplicable, match="finite"):
        of(lambda y, t: functional.cross_entropy(y.masked_fill(t[:, None] == 0, -torch.inf), t))


def test_a_gradient_that_is_not_finite_is_left_out():
    def naive(logits, target):
        e = torch.exp(400 * logits)
        return -torch.log(torch.where(e.isinf(), 1.0, e / e.sum(-1, keepdim=True))).nan_to_num(0.0).sum() * 0 + by_hand(logits, target)

    assert np.isfinite(of(by_hand).residual).all()
    with pytest.raises(NotApplicable, match="finite gradient"):
        of(naive)


def test_a_loss_that_raises_is_the_subjects_failure():
    def broken(output, target):
        raise ValueError("no loss today")

    with pytest.raises(SubjectError, match="no loss today"):
        of(broken)


def test_declared_mismatches_are_left_out():
    with pytest.raises(NotApplicable):
        of(by_hand, intended=("by_hand",))
    assert of(fused(factor=-1.0), intended=("Fused",)).functions == ("cross_entropy",)


def test_the_model_and_the_loss_are_as_they_were():
    class Moving(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, logits, target):
            self.mean += 1
            return super().forward(logits, target)

    torch.manual_seed(0)
    model, loss = nn.Sequential(nn.Linear(4, 3), nn.Dropout()), Moving()
    before, state = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    setup = Setup(model, Batch((X,), targets=CLASSES), loss)
    cross_entropy_calls(Subject("model", lambda seed: setup, fresh=False), BUDGETS["quick"], 0)
    assert all(torch.equal(p, kept) and p.grad is None for p, kept in zip(model.parameters(), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert loss.mean == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
