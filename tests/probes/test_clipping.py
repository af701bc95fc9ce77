"""Clipping on trial and in the optimiser's own step, on gradients whose law is known."""

import math
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.clipping import StepWatch, tried
from gradcheck_suite.probes.first_steps import first_steps
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import mlp, regression, sgd, subject


def parameters(*gradients):
    found = [nn.Parameter(torch.zeros(gradient.shape, dtype=gradient.dtype)) for gradient in gradients]
    for parameter, gradient in zip(found, gradients, strict=True):
        parameter.grad = gradient.clone()
    return [(f"p{index}", parameter) for index, parameter in enumerate(found)]


def on_trial(named, given=None):
    copies = [p.grad.to_dense().clone() for _, p in named]
    return tried(named, copies, [p for _, p in named] if given is None else given)


THREE_FOUR = torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([[4.0]], dtype=torch.float64)


def test_a_gradient_of_norm_five_is_halved_and_left_and_put_back():
    named = parameters(*THREE_FOUR)
    kept = [p.grad for _, p in named]
    half, twice = on_trial(named)
    assert (half.norm, half.bound, twice.bound) == (5.0, 2.5, 10.0)
    assert half.factor == 2.5 / (5 + 1e-6)
    assert half.after == pytest.approx(2.5 - 5e-7, abs=1e-12)
    assert half.before.tolist() == [3.0, 4.0]
    assert (half.relative <= half.error).all()
    assert half.error.max() < 1e-13
    assert twice.factor == 1.0
    assert twice.deviation.tolist() == [0.0, 0.0]
    for (_, p), grad, value in zip(named, kept, THREE_FOUR, strict=True):
        assert p.grad is grad
        assert torch.equal(p.grad, value)


def test_a_parameter_that_is_given_twice_is_scaled_twice():
    named = parameters(*THREE_FOUR)
    first, second = (p for _, p in named)
    clip = on_trial(named, [first, second, first])[0]
    assert clip.parameters == ("p0", "p1")
    assert clip.repeated == ("p0",)
    # torch's norm counts it twice as well: √(9 + 16 + 9)
    factor = 2.5 / math.sqrt(34)
    assert clip.relative == pytest.approx([abs(factor**2 - 0.5) / 0.5, abs(factor - 0.5) / 0.5], rel=1e-5)


def test_gradients_in_one_memory_are_told_and_those_beside_each_other_are_not():
    named = parameters(torch.ones(4), torch.ones(4), torch.ones(2))
    buffer = torch.ones(10)
    for (_, p), start, end in zip(named, (0, 4, 6), (4, 8, 8), strict=True):
        p.grad = buffer[start:end]
    clip = on_trial(named)[0]
    assert clip.shared == ("p1", "p2")
    assert (clip.relative > 0.05).tolist() == [False, True, True]


def test_a_norm_that_overflows_makes_zeros():
    clip = on_trial(parameters(torch.full((3,), 1e25)))[0]
    assert clip.after == 0.0
    assert clip.relative.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("gradient", [torch.tensor([1 + 2j, 3j]), torch.tensor([0.5, 2.0], dtype=torch.bfloat16),
                                      torch.tensor([[0.0, 2.0], [0.0, 0.0]]).to_sparse()], ids=["complex", "bfloat16", "sparse"])
def test_other_formats_keep_the_law_or_are_refused(gradient):
    named = parameters(gradient)
    clips = on_trial(named)
    assert all(clip.refused or (clip.relative <= clip.error).all() for clip in clips)
    assert torch.equal(named[0][1].grad.to_dense(), gradient.to_dense())


def test_an_expanded_gradient_is_refused_and_stays():
    named = parameters(torch.ones(3))
    named[0][1].grad = torch.tensor(2.0).expand(3)
    (clip,) = on_trial(named)
    assert "RuntimeError" in clip.refused
    assert named[0][1].grad.tolist() == [2.0] * 3


def test_nothing_is_tried_on_gradients_of_zero_or_infinity():
    assert on_trial(parameters(torch.zeros(3))) == ()
    assert on_trial(parameters(torch.tensor([math.inf]))) == ()


def test_a_parameter_that_is_not_the_models_is_left_out():
    named = parameters(*THREE_FOUR)
    foreign = parameters(torch.full((3,), 100.0))[0][1]
    clip = on_trial(named, [p for _, p in [*named]] + [foreign])[0]
    assert (clip.relative <= clip.error).all()
    assert torch.equal(foreign.grad, torch.full((3,), 100.0))


class Clipped(torch.optim.SGD):
    """Gradient descent that clips within its step, from a generator."""

    def step(self, closure=None):
        clip_grad_norm_((p for group in self.param_groups for p in group["params"]), 0.1, norm_type=math.inf)
        return super().step(closure)


def test_a_clip_within_the_step_is_seen_in_its_own_norm():
    capture = first_steps(subject(lambda: mlp(4, 8, 2), regression(), optimizer=lambda ps: Clipped(ps, lr=0.1)), BUDGETS["quick"], 1)
    own = [clip for clip in capture.clips if clip.within_step]
    assert len(own) == capture.steps == 3
    assert len(capture.clips) == 5
    for clip in own:
        assert (clip.order, clip.bound) == (math.inf, 0.1)
        assert clip.source.startswith(__file__)
        assert (clip.relative <= clip.error).all()
        assert clip.at_step == pytest.approx(min(0.1, clip.norm), rel=1e-5)
    assert encode(decode(encode(capture))) == encode(capture)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("base", ["SGD", "Own"])
def test_the_update_is_seen_whether_or_not_torch_has_hooked_the_step_of_a_base(hooked, base, monkeypatch):
    step = torch.optim.SGD.step
    plain = step.__wrapped__ if hasattr(step, "hooked") else step
    monkeypatch.setattr(torch.optim.SGD, "step", plain)  # as torch leaves it until the first instance of that very class
    if hooked:
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert hasattr(torch.optim.SGD.step, "hooked") == hooked

    class Own(torch.optim.Optimizer):
        def __init__(self, ps, lr):
            super().__init__(ps, {"lr": lr})

        def step(self, closure=None):
            with torch.no_grad():
                [p.sub_(p.grad, alpha=0.1) for group in self.param_groups for p in group["params"]]

    class Scaling(torch.optim.SGD if base == "SGD" else Own):
        def step(self, closure=None):
            [p.grad.mul_(8) for group in self.param_groups for p in group["params"]]
            super().step(closure)

    class Clipping(Scaling):
        def step(self, closure=None):
            clip_grad_norm_([p for group in self.param_groups for p in group["params"]], 0.1)
            super().step(closure)
            [p.grad.mul_(3) for group in self.param_groups for p in group["params"]]

    capture = first_steps(subject(lambda: mlp(4, 8, 2), regression(), optimizer=lambda ps: Clipping(ps, lr=0.1)), BUDGETS["quick"], 1)
    own = [clip for clip in capture.clips if clip.within_step]
    assert [clip.at_step / clip.bound for clip in own] == pytest.approx([8.0] * 3, rel=1e-4)


@pytest.mark.parametrize("given", [list, tuple, iter, lambda ps: (p for p in ps), lambda ps: dict(enumerate(ps)).values()])
def test_only_the_gradients_that_a_clip_is_given_are_kept(given, monkeypatch):
    named = parameters(*[torch.full((3,), 4.0) for _ in range(12)])
    optimizer = torch.optim.SGD([p for _, p in named], lr=0.1)
    for start in range(0, 12, 2):
        optimizer.register_step_pre_hook(lambda *_, s=start: (clip_grad_norm_(given([p for _, p in named[s:s + 2]]), 1.0), None)[1])
    clone, kept = torch.Tensor.clone, []
    monkeypatch.setattr(torch.Tensor, "clone", lambda tensor: (kept.append(tensor), clone(tensor))[1])
    with StepWatch(named, optimizer) as watch:
        optimizer.step()
    assert len(kept) == 12
    assert [clip.parameters for clip in watch.clips] == [(f"p{s}", f"p{s + 1}") for s in range(0, 12, 2)]
    for clip in watch.clips:
        assert (clip.relative <= clip.error).all()
        assert clip.norm == pytest.approx(math.sqrt(96))
        assert clip.at_step == pytest.approx(1.0, rel=1e-5)


def test_one_tensor_is_kept_by_itself_and_twice_the_same_parameter_as_it_is_each_time():
    named = parameters(torch.full((4,), 2.0), torch.ones(3))
    optimizer = torch.optim.SGD([p for _, p in named], lr=0.1)
    for bound in (2.0, 1.0):
        optimizer.register_step_pre_hook(lambda *_, bound=bound: (clip_grad_norm_(named[0][1], bound), None)[1])
    with StepWatch(named, optimizer) as watch:
        optimizer.step()
    assert [clip.parameters for clip in watch.clips] == [("p0",), ("p0",)]
    assert [clip.norm for clip in watch.clips] == pytest.approx([4.0, 2.0], rel=1e-5)


def test_what_changes_gradients_after_the_clip_shows_at_the_update():
    def make(ps):
        optimizer = torch.optim.SGD(ps, lr=0.1)
        optimizer.register_step_pre_hook(lambda *_: (clip_grad_norm_(ps, 0.1), None)[1])
        optimizer.register_step_pre_hook(lambda *_: ([p.grad.mul_(8) for p in ps], None)[1])
        return optimizer

    capture = first_steps(subject(lambda: mlp(4, 8, 2), regression(), optimizer=make), BUDGETS["quick"], 1)
    own = [clip for clip in capture.clips if clip.within_step]
    assert [clip.at_step / clip.bound for clip in own] == pytest.approx([8.0] * 3, rel=1e-4)


def test_the_watch_leaves_no_profiler_and_no_hook_and_does_without_where_another_is_at_work():
    named = parameters(*THREE_FOUR)
    optimizer = torch.optim.SGD([p for _, p in named], lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: (clip_grad_norm_([p for _, p in named], 1.0), None)[1])
    hooks = len(optimizer._optimizer_step_pre_hooks)
    other = lambda *_: None  # noqa: E731
    before = sys.getprofile()
    try:
        for profiler, count in ((None, 1), (other, 0)):
            sys.setprofile(profiler)
            with StepWatch(named, optimizer) as watch:
                optimizer.step()
            assert sys.getprofile() is profiler
            sys.setprofile(None)
            assert len(watch.clips) == count
            assert len(optimizer._optimizer_step_pre_hooks) == hooks
    finally:
        sys.setprofile(before)


def test_the_steps_are_what_they_are_without_the_trial(monkeypatch):
    def losses():
        made = subject(lambda: nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2)),
                       (torch.tensor([[0, 1], [2, 1], [4, 4]]), torch.ones(3, 2)), optimizer=sgd())
        return first_steps(made, BUDGETS["quick"], 1).losses.tolist()

    tried_too = losses()
    monkeypatch.setattr("gradcheck_suite.probes.clipping.tried", lambda *_: ())
    assert losses() == tried_too


def test_an_instance_is_left_as_it_was():
    model = mlp(4, 8, 2)
    x, y = regression()
    model(x).sum().backward()
    kept = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters()}
    setup = Setup(model, Batch((x,), targets=y), nn.functional.mse_loss, sgd())
    first_steps(Subject("own", lambda _: setup, fresh=False, instance=model), BUDGETS["quick"], 0)
    for name, p in model.named_parameters():
        assert p.grad is kept[name][0]
        assert torch.equal(p.grad, kept[name][1])
