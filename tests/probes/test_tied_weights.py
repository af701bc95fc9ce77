"""Tied weights: which parameters have several uses, and what loses one of them."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.tied_weights import tied_weights
from gradcheck_suite.subject import Batch, Setup, Subject

ROUNDOFF = 2.0**-53
TOKENS = torch.tensor([[1, 0, 2, 4], [3, 3, 0, 0]])


class Tied(nn.Module):
    """An embedding whose table is the head's weight."""

    def __init__(self, sparse=False):
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4, sparse=sparse), nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(torch.tanh(self.table(x)))


class Read(nn.Module):
    """An embedding whose table is read outside its call."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, x):
        return functional.linear(torch.tanh(self.table(x)), self.table.weight)


class Again(nn.Module):
    """A layer applied ``times`` times, by way of a checkpoint on demand."""

    def __init__(self, layer=None, times=3, reentrant=None):
        super().__init__()
        self.layer, self.times, self.reentrant = layer or nn.Linear(4, 4), times, reentrant

    def forward(self, x):
        x = x.clone().requires_grad_()
        for _ in range(self.times):
            x = torch.tanh(self.layer(x) if self.reentrant is None else checkpoint(self.layer, x, use_reentrant=self.reentrant))
        return x


class Storing(torch.autograd.Function):
    """x Wᵀ that writes the gradient of W itself, in place of what is there or in addition to it."""

    @staticmethod
    def forward(ctx, x, weight, adds):
        ctx.save_for_backward(x)
        ctx.weight, ctx.adds = weight, adds
        return x @ weight.T

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        part, weight = g.flatten(0, -2).T @ x.flatten(0, -2), ctx.weight
        weight.grad = part + weight.grad if ctx.adds and weight.grad is not None else part
        return g @ weight, None, None


class Stored(nn.Linear):
    adds = False

    def forward(self, x):
        return Storing.apply(x, self.weight, self.adds)


class Added(Stored):
    adds = True


def of(make, data=TOKENS, intended=(), loss=None):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((data,)), loss, intended=dict.fromkeys(intended, "meant"))

    return tied_weights(Subject("model", setup), BUDGETS["quick"], 0)


X = torch.linspace(-1, 1, 24).reshape(3, 2, 4)


@pytest.mark.parametrize(("make", "data", "places", "owners", "uses"), [
    (Tied, TOKENS, ["table.weight"], [2], [2]), (lambda: Tied(sparse=True), TOKENS, ["table.weight"], [2], [2]),
    (Read, TOKENS, ["table.weight"], [1], [2]), (Again, X, ["layer.weight", "layer.bias"], [1, 1], [3, 3]),
    (lambda: Again(times=20), X, ["layer.weight", "layer.bias"], [1, 1], [9, 9]),
    (lambda: Again(reentrant=False), X, ["layer.weight", "layer.bias"], [1, 1], [3, 3]),
    (lambda: Again(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False))), X,
     ["layer.parametrizations.weight.original0", "layer.parametrizations.weight.original1"], [1, 1], [3, 3]),
    (lambda: Again(Added(4, 4, bias=False)), X, ["layer.weight"], [1], [3]),
    (lambda: Again(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3))), X, ["layer.0.weight", "layer.0.bias"], [1, 1], [3, 3]),
])
def test_a_shared_parameter_collects_all_gradients(make, data, places, owners, uses):
    seen = of(make, data)
    assert [f"{path}.{name}" for path, name in zip(seen.paths, seen.names, strict=True)] == places
    assert (seen.owners.tolist(), seen.uses.tolist()) == (owners, uses)
    assert (seen.residual <= 4 * ROUNDOFF).all()
    np.testing.assert_allclose(seen.ratio, 1.0, rtol=1e-12)
    np.testing.assert_array_equal(decode(encode(seen)).residual, seen.residual)


def hooked(hook):
    model = Again()
    model.layer.weight.register_hook(hook)
    return model


@pytest.mark.parametrize(("make", "ratio"), [
    (lambda: hooked(lambda gradient: gradient / 3), 1 / 3), (lambda: Again(Stored(4, 4, bias=False)), None),
])
def test_a_gradient_that_is_averaged_or_overwritten_is_seen(make, ratio):
    seen = of(make, X)
    assert seen.residual[0] > 0.01
    assert ratio is None or seen.ratio[0] == pytest.approx(ratio)


class Held(nn.Module):
    """A layer used twice as it is, and once with its weights held: frozen, or replaced by detached ones."""

    def __init__(self, frozen, layer=None):
        super().__init__()
        self.layer, self.frozen = layer or nn.Linear(4, 4), frozen

    def forward(self, x):
        x = torch.tanh(self.layer(torch.tanh(self.layer(x))))
        if not self.frozen:
            return functional_call(self.layer, {name: p.detach() for name, p in self.layer.named_parameters()}, (x,))
        self.layer.requires_grad_(False)
        y = self.layer(x)
        self.layer.requires_grad_(True)
        return y


@pytest.mark.parametrize("frozen", [True, False])
def test_a_use_with_held_weights_sends_nothing(frozen):
    seen = of(lambda: Held(frozen), X)
    assert (seen.paths, seen.names) == (("layer", "layer"), ("weight", "bias"))
    assert seen.uses.tolist() == [2, 2]
    assert (seen.residual <= 4 * ROUNDOFF).all()
    spoilt = of(lambda: Held(frozen, Stored(4, 4, bias=False)), X) if frozen else of(lambda: Held(frozen, hooked_layer()), X)
    assert spoilt.residual[0] > 0.01


def hooked_layer():
    layer = nn.Linear(4, 4, bias=False)
    layer.weight.register_hook(lambda gradient: gradient / 2)
    return layer


def random_state():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.noise = nn.Linear(4, 4), np.random.default_rng()

        def forward(self, x):
            return self.layer(self.layer(x) * float(np.random.default_rng().normal()))

    return Noisy()


def taken():
    model = Again()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))
    return model


@pytest.mark.parametrize(("make", "reason"), [
    (lambda: nn.Linear(4, 4), "used by several"), (lambda: Again(times=1), "used by several"), (random_state, "another one"),
    (taken, "used by several"), (lambda: Again().requires_grad_(False), "used by several"),
])
def test_other_parameters_are_not_judged(make, reason):
    with pytest.raises(NotApplicable, match=reason):
        of(make, X, loss=lambda output, _: output.square().sum())


@pytest.mark.parametrize(("make", "name"), [
    (lambda: hooked(lambda gradient: gradient / 3), "layer"), (lambda: Again(nn.Sequential(hooked_layer())), "layer"),
    (lambda: Again(hooked_layer()), ""), (lambda: Again(Stored(4, 4, bias=False)), "Storing"),
])
def test_a_declared_mismatch_is_left_out(make, name):
    with pytest.raises(NotApplicable):
        of(make, X, intended=(name,))


def test_a_declaration_does_not_hide_what_is_right():
    assert of(Again, X, intended=("",)).uses.tolist() == [3, 3]


def test_a_model_that_knows_its_parameters_by_identity_is_not_judged():
    def refuse(module, args, output):
        assert module.weight is kept.table.weight, "another weight"

    kept = Tied()
    kept.head.register_forward_hook(refuse)
    with pytest.raises(NotApplicable, match="does not run with a copy"):
        tied_weights(Subject("model", lambda seed: Setup(kept, Batch((TOKENS,))), fresh=False), BUDGETS["quick"], 0)
    assert kept.head.weight is kept.table.weight


class First(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


@pytest.mark.parametrize("make", [Tied, lambda: Again(First(4, 4)), lambda: Again(Stored(4, 4, bias=False))])
def test_the_model_is_as_it_was(make):
    torch.manual_seed(0)
    model = make()
    before, state = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}, torch.get_rng_state()
    data = TOKENS if isinstance(model, Tied) else X
    subject = Subject("model", lambda seed: Setup(model, Batch((data,))), fresh=False)
    with contextlib.suppress(NotApplicable):  # an LSTM hands its weights to the kernel from a list of its own
        tied_weights(subject, BUDGETS["quick"], 0)
    for name, p in model.named_parameters():
        assert p is before[name][0]
        assert torch.equal(p, before[name][1])
        assert p.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
