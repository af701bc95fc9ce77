"""Wrong only in its place: shared state, cotangents misread or written to, kept values edited, hooks on what is inside."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.probes.directional_derivative.models import Formula, blamed, captured, subject


def function(name, forward, backward):
    return type(name, (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def found(make, *inputs):
    capture = captured(subject(make, *(inputs or (torch.randn(5, 3),))))
    (place,) = (place for place in capture.places if place.blamed)
    assert all(other.status == "agrees" for other in capture.places if other.role in ("alone", "glue"))
    return place


def test_state_shared_between_two_calls():
    def forward(ctx, x, owner):
        ctx.owner, owner.last = owner, x.detach().clone()
        return torch.sin(x)

    stale = function("Stale", forward, lambda ctx, g: (g * torch.cos(ctx.owner.last), None))
    wave = Formula(lambda m, x: stale.apply(x, m))
    place = found(lambda: nn.Sequential(nn.Linear(3, 4), wave, nn.Linear(4, 4), wave))
    assert (place.module, place.function, place.role) == ("1", "Stale", "in place")
    assert "several calls" in place.note[0]


def test_an_expanded_cotangent_that_is_misread():
    halves = function("Halves", lambda ctx, x: 2 * x, lambda ctx, g: 2 * g * (0.5 if 0 in g.stride() else 1.0))
    place = found(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Formula(lambda _, x: halves.apply(x)), Formula(lambda _, x: x.sum())))
    assert (place.module, place.function) == ("2", "Halves")
    assert "expanded" in place.note[0]


def test_a_cotangent_that_is_written_to():
    triples = function("Triples", lambda ctx, x: 3 * x, lambda ctx, g: g.mul_(3))

    def make():
        return nn.Sequential(nn.Linear(3, 4), Formula(lambda m, x: m.op(x) + x, op=Formula(lambda _, x: triples.apply(x))), nn.Linear(4, 2))

    capture = captured(subject(make, torch.randn(5, 3)))
    assert blamed(capture) == ["1.op"]
    (place,) = (place for place in capture.places if place.blamed)
    assert place.function == "Triples"
    assert any("writes into" in note for note in place.note)


def test_an_output_that_is_edited_after_it_was_returned():
    def forward(ctx, x):
        ctx.kept = x.exp()
        return ctx.kept

    keeps = function("Keeps", forward, lambda ctx, g: g * ctx.kept.detach())

    def edit(module, x):
        y = module.exp(x)
        y.data.add_(1.0)
        return y

    place = found(lambda: nn.Sequential(nn.Linear(3, 4), Formula(edit, exp=Formula(lambda _, x: keeps.apply(x))), nn.Linear(4, 2)))
    assert (place.module, place.function) == ("1", "Keeps")


def test_a_cache_that_another_module_overwrites():
    cache = {}

    def forward(ctx, x):
        y = torch.sigmoid(x)
        cache[x.shape] = y.detach()
        return y

    def backward(ctx, g):
        y = cache[g.shape]
        return g * y * (1 - y)

    shared = function("Shared", forward, backward)
    place = found(lambda: nn.Sequential(
        nn.Linear(3, 4), Formula(lambda _, x: shared.apply(x)), nn.Linear(4, 4), Formula(lambda _, x: shared.apply(x)), nn.Linear(4, 2)))
    assert (place.module, place.function) == ("1", "Shared")


def test_a_region_recomputed_with_fresh_draws():
    def forward(module, x):
        return checkpoint(module.part, x, use_reentrant=False, preserve_rng_state=False)

    part = nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Linear(5, 4))
    assert found(lambda: nn.Sequential(nn.Linear(3, 4), Formula(forward, part=part), nn.Linear(4, 2))).module == "1"


def test_a_gradient_that_is_limited_only_when_it_is_large():
    def forward(module, x):
        y = torch.tanh(module.part(x))
        if y.requires_grad:
            y.register_hook(lambda g: g.clamp(-50, 50))
        return y

    place = found(lambda: nn.Sequential(nn.Linear(3, 4), Formula(forward, part=nn.Linear(4, 4)), Formula(lambda _, x: (1e4 * x).sum())))
    assert place.module == "1"


def test_where_nothing_smaller_explains_it_the_model_itself_is_named():
    def forward(module, x):
        y = torch.tanh(module.part(x))
        if y.requires_grad:
            y.register_hook(lambda g: g.clamp(-50, 50))
        return y

    capture = captured(subject(lambda: Formula(forward, part=nn.Linear(3, 4)), torch.randn(5, 3), loss=lambda y, _: (1e4 * y).sum()))
    assert blamed(capture) == [""]


def test_a_model_that_changes_its_weights_as_it_runs_is_not_decided():
    def step(module, x):
        module.body.weight.data.mul_(0.999)
        return module.body(x)

    capture = captured(subject(lambda: Formula(step, body=nn.Linear(3, 2)), torch.randn(5, 3)))
    assert capture.places[-1].status in ("noise", "disagrees")
    assert "differ" in " ".join(capture.places[-1].note)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_that_keeps_its_draws_is_right(reentrant):
    def forward(module, x):
        return checkpoint(module.part, x, use_reentrant=reentrant) + x

    part = nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Linear(5, 4))
    capture = captured(subject(lambda: nn.Sequential(nn.Linear(3, 4), Formula(forward, part=part)), torch.randn(5, 3)))
    assert blamed(capture) == []
    assert capture.places[-1].status == "agrees"
