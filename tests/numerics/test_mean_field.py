"""Quadrature, activations and mean-field factors against closed forms and figures from the literature."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import nn

from gradcheck_suite.numerics.activations import activation, rectifier
from gradcheck_suite.numerics.gaussian_expectation import expectation
from gradcheck_suite.numerics.mean_field import (
    batch_norm_rate,
    batch_norm_rate_at,
    layer_norm_rate,
    mean_square,
    mean_square_slope,
    trajectory,
)

TORCH = {
    "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "prelu": nn.PReLU(), "identity": nn.Identity(), "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(), "hardtanh": nn.Hardtanh(), "softsign": nn.Softsign(), "elu": nn.ELU(), "selu": nn.SELU(), "gelu": nn.GELU(),
    "silu": nn.SiLU(), "mish": nn.Mish(), "softplus": nn.Softplus(threshold=100), "relu6": nn.ReLU6(), "hardswish": nn.Hardswish(),
}


@pytest.mark.parametrize("kind", TORCH)
def test_activations_are_those_of_torch(kind):
    phi = activation(kind)
    x = torch.linspace(-7, 7, 701, dtype=torch.float64)[:-1].add(0.003).requires_grad_()
    y = TORCH[kind].double()(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(phi.value(x.detach().numpy()), y.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(phi.derivative(x.detach().numpy()), slope.numpy(), rtol=1e-10, atol=1e-12)
    assert phi.steepest >= slope.abs().max() * (1 - 1e-9)
    assert phi.steepest == pytest.approx(float(slope.abs().max()), rel=2e-2)


def test_unknown_activations_are_none():
    assert activation("relu", {"slope": math.nan}) is None
    assert activation("gelu", {"approximate": "tanh"}) is None
    assert activation("maxout") is None


def test_expectations_are_exact_at_kinks():
    assert expectation(lambda z: np.maximum(z, 0), (0.0,)) == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-14)
    assert expectation(lambda z: (np.abs(z) < 1) * 1.0, (-1.0, 1.0)) == pytest.approx(math.erf(1 / math.sqrt(2)), rel=1e-14)
    assert expectation(lambda z: z**4) == pytest.approx(3, rel=1e-14)
    nodes, weights = hermegauss(128)
    plain = weights @ np.maximum(nodes, 0) / math.sqrt(2 * math.pi)
    assert abs(plain - 1 / math.sqrt(2 * math.pi)) > 1e-4


def test_factors_of_the_article():
    """Squared-gradient factors per layer and decades over 50 layers, as tabulated in the literature and by simulation."""
    relu = activation("relu")
    assert trajectory(relu, 2.0, 0.0, 50).factors == pytest.approx([1.0] * 50, abs=1e-12)
    default = trajectory(relu, 1 / 3, 0.0, 50)
    assert default.factors == pytest.approx([1 / 6] * 50, abs=1e-12)
    assert default.log_gradient / math.log(10) == pytest.approx(-38.9, abs=0.05)
    assert trajectory(activation("gelu"), 2.0, 0.0, 50).log_gradient / math.log(10) == pytest.approx(-11.4, abs=0.1)
    assert trajectory(activation("tanh"), 1.0, 0.0, 50).log_gradient / math.log(10) == pytest.approx(-1.8, abs=0.1)
    assert trajectory(activation("selu"), 1.0, 0.0, 50).factors[-1] == pytest.approx(1.0716, abs=1e-3)
    assert trajectory(activation("sigmoid"), 1.0, 0.0, 50).factors[-1] == pytest.approx(0.056, abs=1e-3)
    assert all(factor <= 1.0 / 16 for factor in trajectory(activation("sigmoid"), 1.0, 0.0, 20).factors)


def test_tanh_is_critical_on_the_edge_of_chaos():
    """(σ_w², σ_b²) = (1.76, 0.05) (Schoenholz et al. 2017)."""
    assert trajectory(activation("tanh"), 1.761, 0.05, 60).factors[-1] == pytest.approx(1.0, abs=2e-3)


def test_rates_of_normalised_networks():
    assert batch_norm_rate(activation("relu")) == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    assert batch_norm_rate(activation("identity")) == pytest.approx(1.0, rel=1e-12)
    assert [batch_norm_rate(activation(kind)) for kind in ("tanh", "gelu", "sigmoid")] == pytest.approx([1.178, 1.319, 1.034], abs=1e-3)
    assert layer_norm_rate(activation("relu")) == pytest.approx(1.0, rel=1e-12)
    assert [layer_norm_rate(activation(kind)) for kind in ("tanh", "gelu", "sigmoid")] == pytest.approx([1.178, 1.072, 0.153], abs=1e-3)


def test_rectifiers_are_critical_at_their_gain():
    for slope in (0.0, 0.01, 0.2, 1.0):
        phi = rectifier(slope)
        critical = 2 / (1 + slope**2)
        assert critical * mean_square_slope(phi, 0.7) == pytest.approx(1.0, rel=1e-13)
        assert critical * mean_square(phi, 0.7) == pytest.approx(0.7, rel=1e-13)


@pytest.mark.parametrize(("kind", "batch", "rate"), [("relu", 8, 1.8025), ("relu", 32, 1.5252), ("tanh", 32, 1.210), ("gelu", 128, 1.328),
                                                     ("identity", 16, 14 / 13)])
def test_batch_norm_rate_at_finite_batches(kind, batch, rate):
    value, error = batch_norm_rate_at(activation(kind), batch, np.random.default_rng(0))
    assert value == pytest.approx(rate, abs=max(error, 1e-9) + 2e-3)
    assert error < 0.02 * value
