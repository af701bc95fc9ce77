"""Adjoint and Hessian products: right models agree, one-sided mistakes are seen, models without the modes are told."""

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.adjoint_products import adjoint_products
from gradcheck_suite.probes.hessian_products import hessian_products
from gradcheck_suite.subject import Batch, Setup, Subject


class Square(torch.autograd.Function):
    """x² with a right backward pass and a forward mode that is 1 % off."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return 2.02 * x * tangent


class Detaching(torch.autograd.Function):
    """x³ whose backward pass hides its dependence on what comes from above."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient.detach()


class Once(Detaching):
    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


def model(function):
    class Layer(nn.Module):
        def forward(self, x):
            return function.apply(x)

    return lambda: nn.Sequential(nn.Linear(3, 4), Layer(), nn.Tanh(), nn.Linear(4, 2))


def of(make, probe):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((torch.randn(5, 3),)))

    return probe(Subject("model", setup), BUDGETS["quick"], 0)


def plain():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.GELU(), nn.Linear(4, 2))


def test_right_models_agree():
    adjoint, hessian = of(plain, adjoint_products), of(plain, hessian_products)
    assert abs(adjoint.forward - adjoint.backward) <= 8 * adjoint.epsilon * adjoint.scale
    assert abs(hessian.first - hessian.second) <= 8 * hessian.epsilon * hessian.scale
    assert adjoint.tensors == 7
    assert hessian.first != 0


def test_a_wrong_forward_mode_is_seen():
    seen = of(model(Square), adjoint_products)
    assert abs(seen.forward - seen.backward) > 1e-5 * seen.scale
    assert abs(seen.backward - seen.difference) < 1e-3 * abs(seen.forward - seen.difference)


def test_a_hidden_dependence_is_seen():
    seen = of(model(Detaching), hessian_products)
    assert abs(seen.first - seen.second) > 1e-3 * seen.scale


def test_missing_modes_are_told():
    with pytest.raises(NotApplicable, match="no forward-mode derivative"):
        of(model(Detaching), adjoint_products)
    with pytest.raises(NotApplicable, match="no second derivative"):
        of(model(Once), hessian_products)


def test_padding_rows_have_no_gradient_by_definition():
    def make():
        return nn.Sequential(nn.Embedding(5, 4, padding_idx=0), nn.Tanh(), nn.Linear(4, 2))

    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make(), Batch((torch.tensor([[0, 0, 1], [2, 0, 3]]),)))

    seen = adjoint_products(Subject("padded", setup), BUDGETS["quick"], 3)
    assert abs(seen.forward - seen.backward) <= 1e-14 * seen.scale
    assert seen.forward != 0.0


def test_a_narrow_part_widens_the_error():
    class Narrow(nn.Module):
        def forward(self, x):
            return x.float().softmax(-1).to(x.dtype)

    for probe in (adjoint_products, hessian_products):
        assert of(plain, probe).epsilon == torch.finfo(torch.float64).eps
        assert of(lambda: nn.Sequential(nn.Linear(3, 4), Narrow(), nn.Linear(4, 2)), probe).epsilon == torch.finfo(torch.float32).eps


def test_complex_outputs_are_compared_by_the_real_inner_product():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x)

    seen = of(lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), Spectrum()), adjoint_products)
    assert abs(seen.forward - seen.backward) <= 8 * seen.epsilon * seen.scale


def test_parameters_that_no_tangent_reaches_are_told():
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))
            self.kept = {"weight": self.weight}

        def forward(self, x):
            return torch.tanh(x @ self.kept["weight"])

    with pytest.raises(NotApplicable, match="no tangent reaches"):
        of(Remembering, adjoint_products)


def test_both_modes_may_take_another_side_of_a_kink():
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(nn.Sequential(nn.PReLU(3), nn.LeakyReLU(0.2), nn.Linear(3, 2)), Batch((torch.zeros(4, 3),)))

    seen = adjoint_products(Subject("at zero", setup), BUDGETS["quick"], 0)
    assert seen.forward != seen.backward
    assert seen.bend > 0.5 * abs(seen.forward - seen.backward)
    smooth = of(model(Square), adjoint_products)
    assert smooth.bend < 0.1 * abs(smooth.forward - smooth.backward)


class Around(nn.Module):
    """A module with another in it, and the mistake in its own code."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return Detaching.apply(self.layer(x))


class Refusing(nn.Module):
    """Runs once and no more on what it was given."""

    def __init__(self):
        super().__init__()
        self.inner, self.given = nn.Sequential(model(Detaching)()), []

    def forward(self, x):
        assert id(x) not in self.given
        assert len(self.given) < 2, "twice"
        self.given.append(id(x))
        return self.inner(x)


@pytest.mark.parametrize(("make", "module", "kind"), [
    (model(Detaching), "1", "Layer"), (plain, "", ""), (Around, "", ""), (lambda: nn.Sequential(Around(), nn.Linear(4, 2)), "0", "Around"),
    (lambda: nn.Sequential(nn.Linear(3, 3), Refusing()), "1.inner.0.1", "Layer"),
])
def test_the_module_that_is_asymmetric_by_itself_is_named(make, module, kind):
    seen = of(make, hessian_products)
    assert (seen.module, seen.kind) == (module, kind)
    assert (seen.alone > 1e-3) is bool(kind)
