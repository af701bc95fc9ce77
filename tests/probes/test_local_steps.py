"""Steps of gradient descent on losses whose first and second derivative are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite import catalogue
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.probes.curvature import sharpest
from gradcheck_suite.probes.displaced_descent import displaced_descent
from gradcheck_suite.probes.gradient_line import gradient_line
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import mlp, regression, sgd, subject

THOROUGH = BUDGETS["thorough"]
PROBES = pytest.mark.parametrize("probe", [displaced_descent, gradient_line])


class Valley(nn.Module):
    """½ Σ curvatures · w², from w = 1, plus what is given."""

    def __init__(self, *curvatures, extra=None):
        super().__init__()
        self.curvatures, self.extra = torch.tensor(curvatures), extra
        self.w = nn.Parameter(torch.ones(len(curvatures)))

    def forward(self, x):
        value = 0.5 * (self.curvatures.to(self.w) * self.w.square()).sum()
        return value + (self.extra(self.w) if self.extra is not None else 0.0) + 0 * x.sum()


def valley(*curvatures, extra=None):
    return subject(lambda: Valley(*curvatures, extra=extra), (torch.zeros(2), None), loss=lambda output, _: output)


def test_lanczos_gives_the_eigenvector_with_its_residual():
    matrix = torch.diag(torch.tensor([5.0, 2.0, -7.0], dtype=torch.float64))
    top = sharpest(lambda v: matrix @ v, 3, 3, 0)
    assert (top.value, top.products) == (pytest.approx(5.0), 3)
    assert top.vector.abs().tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
    few = sharpest(lambda v: matrix @ v, 3, 2, 0)
    assert float((matrix @ few.vector - few.value * few.vector).norm()) == pytest.approx(few.error)


def test_on_a_quadratic_distances_grow_by_the_factor_at_every_step():
    seen = displaced_descent(valley(4.0, 1.0, 0.5), THOROUGH, 1)
    assert seen.sharpness == pytest.approx(4.0)
    assert seen.rates.tolist() == pytest.approx([0.95 / 2, 1.05 / 2])
    assert seen.factors == pytest.approx((0.9, 1.1))
    for grown, factor in zip(seen.growth, (0.9, 1.1), strict=True):
        assert grown.tolist() == pytest.approx([factor] * 3, rel=1e-8)
    assert (np.abs(seen.deviation) <= seen.error).all()
    assert seen.error.max() < 1e-4
    assert encode(decode(encode(seen))) == encode(seen)


def test_the_error_covers_the_third_derivative():
    seen = displaced_descent(valley(4.0, 1.0, extra=lambda w: 3 * w.pow(3).sum()), THOROUGH, 1)
    assert seen.sharpness == pytest.approx(22.0)
    assert (np.abs(seen.deviation) <= seen.error).all()


def test_on_a_quadratic_the_second_order_is_everything():
    seen = gradient_line(valley(4.0, 1.0), THOROUGH, 1)
    assert (seen.squared, seen.curvature, seen.loss) == (17.0, 65.0, 2.5)
    assert seen.threshold == pytest.approx(34 / 65)
    assert seen.ratio[:12] == pytest.approx(1.0, abs=1e-6)
    assert (np.abs(seen.ratio - 1) <= seen.error)[:-2].all()
    at = dict(zip(seen.multiples.tolist(), seen.changes.tolist(), strict=True))
    assert at[1.0] == pytest.approx(0.0, abs=1e-12)
    assert at[0.5] < 0 < at[2.0]
    assert encode(decode(encode(seen))) == encode(seen)


def test_the_error_covers_the_third_order_and_no_more_than_it_must():
    seen = gradient_line(valley(4.0, 1.0, extra=lambda w: 0.2 * w.pow(3).sum()), THOROUGH, 1)
    assert (np.abs(seen.ratio - 1) <= seen.error)[:-2].all()
    assert (seen.error <= 8 * np.abs(seen.ratio - 1) + 1e-6)[:10].all()
    assert seen.error.min() < 1e-3


def test_beyond_a_kink_nothing_is_judged():
    seen = gradient_line(valley(4.0, 1.0, extra=lambda w: (w - 0.99).abs().sum()), THOROUGH, 1)
    assert not seen.smooth[0]
    assert seen.smooth[-1]
    first = int(np.argmax(seen.smooth))
    assert np.isinf(seen.error[:first]).all()
    assert (np.abs(seen.ratio - 1) <= seen.error)[first:-2].all()
    runs = displaced_descent(valley(4.0, 1.0, extra=lambda w: (w - 0.99).abs().sum()), THOROUGH, 1)
    assert (np.abs(runs.deviation) <= runs.error)[np.isfinite(runs.growth)].all()


@PROBES
def test_a_kink_at_the_start_is_told(probe):
    with pytest.raises(NotApplicable, match="kink"):
        probe(valley(4.0, 1.0, extra=lambda w: (w - 1.0).abs().sum()), THOROUGH, 1)


class Detaching(torch.autograd.Function):
    """tanh whose backward pass forgets that it depends on the input."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y.detach().clone())
        return y

    @staticmethod
    def backward(ctx, upstream):
        (y,) = ctx.saved_tensors
        return upstream * (1 - y.detach().square())


class Once(Detaching):
    """The same, and it says so."""

    backward = staticmethod(torch.autograd.function.once_differentiable(Detaching.backward))


class Through(nn.Module):
    """Dense, a function, dense."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function

    def forward(self, x):
        return self.second(self.function(self.first(x)))


def test_a_second_derivative_that_is_wrong_shows_in_both():
    made = subject(lambda: Through(Detaching.apply), regression())
    line, runs = gradient_line(made, THOROUGH, 1), displaced_descent(made, THOROUGH, 1)
    best = int(np.argmin(line.error))
    assert abs(line.ratio[best] - 1) > 0.1 > 100 * line.error[best]
    wrong = np.abs(runs.deviation) > 1000 * runs.error
    assert wrong.any()
    assert (runs.dispute[wrong] < 0.01).all()
    assert runs.judged[wrong].all()
    assert abs(line.slopes - line.ratio[best]) < line.slopes_error + line.error[best]


UNFIT = {"differentiable once": Once.apply, "not the slope": lambda x: x.tanh() + x.detach()}


@PROBES
@pytest.mark.parametrize("message", UNFIT)
def test_what_is_no_second_derivative_by_design_is_not_judged(probe, message):
    with pytest.raises(NotApplicable, match=message):
        probe(subject(lambda: Through(UNFIT[message]), regression()), THOROUGH, 1)


def stopped(w):
    """A product whose second factor gets no gradient; the first is zero at the start, so that nothing is missing there."""
    return 3 * (w[0] - 1) * w[1].detach()


def test_a_gradient_that_is_stopped_on_purpose_and_right_at_the_start_is_not_the_hessians_fault():
    (step,), (growth,) = ([catalogue.load(entry) for entry in catalogue.entries() if entry.id == name]
                          for name in ("step-length", "displacement-growth"))
    made = valley(1.0, 4.0, extra=stopped)
    runs, line = displaced_descent(made, THOROUGH, 1), gradient_line(made, THOROUGH, 1)
    assert np.nanmax(np.abs(runs.deviation) - runs.error) > 0
    assert not (runs.dispute < 0.9).any()
    assert not (runs.judged & (np.abs(runs.deviation) > runs.error)).any()
    assert Verdict.VIOLATED not in {piece.verdict for piece in pieces(growth, runs)}
    assert abs(line.ratio[12] - 1) > 0.1
    assert pieces(step, line) == []


def pieces(prop, capture):
    try:
        return list(prop.measure(capture))
    except NotApplicable:
        return []


@PROBES
def test_other_unmet_conditions_are_facts(probe):
    whole = subject(lambda: mlp(4, 8, 2), regression())
    with pytest.raises(NotApplicable, match="budget 'standard'"):
        probe(whole, BUDGETS["standard"], 1)
    with pytest.raises(NotApplicable, match="no loss"):
        probe(Subject("none", lambda seed: replace(whole.setup(seed), loss=None)), THOROUGH, 1)
    with pytest.raises(NotApplicable, match="curv"):
        probe(valley(-4.0, -1.0), THOROUGH, 1)
    with pytest.raises(NotApplicable, match="sparse"):
        probe(subject(lambda: nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Flatten(), nn.Tanh(), nn.Linear(8, 2)),
                      (torch.tensor([[0, 1], [2, 3]]), torch.ones(2, 2))), THOROUGH, 1)


@PROBES
def test_dropout_running_statistics_and_counters_begin_from_the_same_at_every_point(probe):
    seen = probe(subject(dropping, regression()), THOROUGH, 1)
    values = seen.ratio - 1 if hasattr(seen, "ratio") else seen.deviation
    judged = seen.error < 0.05
    assert judged.any()
    assert (np.abs(values) <= seen.error)[judged].all()


def dropping():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2))


@PROBES
def test_an_instance_is_left_bit_for_bit(probe):
    torch.manual_seed(3)
    model = dropping()
    x, y = regression()
    handle = model[0].register_forward_hook(lambda *_: None)
    model(x).sum().backward()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters()}
    setup = Setup(model, Batch((x,), targets=y), functional.mse_loss, sgd())
    generator = torch.get_rng_state()
    probe(Subject("own", lambda _: setup, fresh=False, instance=model), THOROUGH, 0)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_default_dtype() == torch.float32
    assert list(model[0]._forward_hooks) == [handle.id]
    for name, value in model.state_dict().items():
        assert value.dtype == kept[name].dtype
        assert torch.equal(value, kept[name])
    for name, p in model.named_parameters():
        assert p.grad is grads[name][0]
        assert torch.equal(p.grad, grads[name][1])


class Differentiating(nn.Module):
    """A force: the derivative of an energy, taken in the forward pass; it works next to its first parameters only."""

    def __init__(self):
        super().__init__()
        self.energy = mlp(4, 8, 1)
        self.around = self.energy[0].weight.detach().clone()

    def forward(self, x):
        if not torch.allclose(self.energy[0].weight, self.around.to(x), atol=0.02):
            raise ArithmeticError("too far")
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


@PROBES
def test_a_model_that_differentiates_and_one_that_fails_further_off_are_judged_near_by(probe):
    x, _ = regression()
    seen = probe(subject(Differentiating, (x, torch.zeros_like(x))), THOROUGH, 1)
    values = seen.ratio - 1 if hasattr(seen, "ratio") else seen.deviation
    judged = seen.error < 0.05
    assert judged.any()
    assert (np.abs(values) <= seen.error)[judged].all()
