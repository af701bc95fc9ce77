"""Weights, curvature and precision, against values that are known."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes import probe
from gradcheck_suite.probes.curvature import curvature, lanczos, stability_threshold
from gradcheck_suite.probes.precision_twin import precision_twin
from gradcheck_suite.probes.weight_law import weight_law
from gradcheck_suite.subject import Batch, Setup, Subject
from tests.probes.small import adam, mlp, regression, sgd, subject

BUDGET = BUDGETS["quick"]


def initialised(draw):
    def make():
        model = mlp(64, 96, 128, activation=nn.ReLU)
        for layer in (model[0], model[2]):
            draw(layer.weight)
        return model

    return make


LAWS = {
    "He (fan-in)": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "He (fan-out)": lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
    "Glorot": nn.init.xavier_uniform_,
    "LeCun": lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.5),
    "torch's default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "orthogonal": nn.init.orthogonal_,
}


@pytest.mark.parametrize("law", LAWS)
def test_the_law_that_drew_the_weights_is_within_the_interval(law):
    capture = weight_law(subject(initialised(LAWS[law]), regression(64, 128)), BUDGET, 2)
    assert [weight.module for weight in capture.weights] == ["0", "2"]
    assert [weight.last for weight in capture.weights] == [False, True]
    assert all(abs(weight.deviation(law)) < weight.half_width(4.9) for weight in capture.weights)
    assert decode(encode(capture)) == capture


def test_a_standard_deviation_of_one_deviates_from_all_of_them():
    capture = weight_law(subject(initialised(lambda w: nn.init.normal_(w, std=1.0)), regression(64, 128)), BUDGET, 2)
    assert all(abs(weight.deviation(weight.nearest)) > 10 * weight.half_width(4.9) for weight in capture.weights)


def test_the_kurtosis_tells_a_uniform_from_a_normal_law():
    uniform = weight_law(subject(initialised(nn.init.xavier_uniform_), regression(64, 128)), BUDGET, 2).weights[0]
    normal = weight_law(subject(initialised(nn.init.xavier_normal_), regression(64, 128)), BUDGET, 2).weights[0]
    assert uniform.kurtosis == pytest.approx(1.8, abs=0.1)
    assert normal.kurtosis == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("outputs", [1, 8])
def test_a_grouped_convolution_follows_its_law_by_either_count_of_its_outputs(outputs):
    def make():
        model = nn.Sequential(nn.Conv2d(64, 64, 5, groups=8, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 2))
        nn.init.normal_(model[0].weight, std=math.sqrt(2 / (8 * 25 * outputs)))
        return model

    weight = weight_law(subject(make, (torch.randn(2, 64, 4, 4), torch.randn(2, 2))), BUDGET, 2).weights[0]
    assert weight.groups == 8
    assert abs(weight.deviation("He (fan-out)")) < weight.half_width(4.9)


def test_a_given_model_has_no_law():
    x, y = regression()
    setup = Setup(mlp(4, 2), Batch((x,), targets=y), functional.mse_loss)
    with pytest.raises(NotApplicable, match="instance"):
        weight_law(Subject("given", lambda seed: setup, fresh=False), BUDGET, 0)


@pytest.mark.parametrize("seed", range(4))
def test_lanczos_bounds_its_own_error(seed):
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    values = torch.linspace(-1, 3, 40, dtype=torch.float64)
    matrix = basis @ torch.diag(values) @ basis.T
    found, error, products = lanczos(lambda v: matrix @ v, 40, 10, seed)
    assert products == 10
    assert float((values - found).abs().min()) <= error + 1e-12
    exact, rounding, _ = lanczos(lambda v: matrix @ v, 40, 40, seed)
    assert exact == pytest.approx(3.0, abs=1e-10 + rounding)


def test_the_curvature_of_a_linear_regression_is_that_of_its_inputs():
    x, y = regression(outputs=1)
    capture = curvature(subject(lambda: nn.Linear(4, 1), (x, y)), BUDGET, 0)
    ones = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    expected = float(torch.linalg.eigvalsh(2 * ones.T @ ones / len(x)).max())
    assert capture.largest == pytest.approx(expected, rel=1e-5)
    assert capture.threshold == pytest.approx(20.0)
    assert capture.excess == pytest.approx(math.log10(expected / 20))


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.9}, {"momentum": 0.9, "nesterov": True},
                                     {"weight_decay": 0.5}])
def test_thresholds_part_convergence_from_divergence_on_a_quadratic(options):
    rate = 0.1
    probe = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([probe], lr=rate, **options)
    threshold, formula = stability_threshold(optimizer, optimizer.param_groups[0])
    assert formula
    for factor, converges in ((0.98, True), (1.02, False)):
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        stepper = torch.optim.SGD([weight], lr=rate, **options)
        for _ in range(3000):
            weight.grad = factor * threshold * weight.detach()
            stepper.step()
            if not 1e-30 < abs(float(weight.detach())) < 1e30:
                break
        assert (abs(float(weight.detach())) < 1) == converges


def test_adaptive_optimisers_have_no_closed_threshold():
    with pytest.raises(NotApplicable, match="Adam"):
        curvature(subject(lambda: mlp(4, 2), regression(), optimizer=adam()), BUDGET, 0)


def twin(make, data=None, **options):
    return precision_twin(subject(make, data or regression(), **options), BUDGET, 1)


def test_a_healthy_float32_gradient_agrees_with_its_twin():
    capture = twin(lambda: mlp(4, 8, 2))
    assert capture.dtype == "float32"
    assert capture.finite
    assert capture.twin_finite
    assert 0 < capture.difference < 1e-5
    assert decode(encode(capture)) == capture


def test_cancellation_shows():
    capture = twin(lambda: mlp(4, 8, 2), loss=lambda o, y: ((o + 1e4).square().mean() - (o + 1e4).mean().square()) + 0 * y.sum())
    assert capture.difference > 1e-3


def test_what_is_finite_in_float64_only_is_told():
    capture = twin(lambda: mlp(4, 2), loss=lambda o, y: (1e25 * o).square().mean() / 1e50)
    assert not capture.finite
    assert capture.twin_finite


def test_dropout_is_compared_in_evaluation_mode():
    capture = twin(lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))
    assert capture.evaluation
    assert capture.difference < 1e-5


def test_autocast_has_the_resolution_of_its_narrow_dtype():
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp(4, 8, 2)

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.inner(x).float()

    capture = twin(Cast)
    assert capture.dtype == "bfloat16"
    assert capture.difference < math.sqrt(capture.eps)


def test_models_that_have_no_twin_are_not_applicable():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return functional.linear(x.float(), self.layer.weight)

    with pytest.raises(NotApplicable, match="float64"):
        twin(Fixed)
    x, y = regression()
    with pytest.raises(NotApplicable, match="already"):
        twin(lambda: mlp(4, 2).double(), (x.double(), y.double()))
    with pytest.raises(NotApplicable, match="random in evaluation"):
        twin(lambda: nn.Sequential(nn.Linear(4, 2), Noise()))
    with pytest.raises(NotApplicable, match="no trainable"):
        twin(lambda: mlp(4, 2).requires_grad_(False))


class Noise(nn.Module):
    """Noise in every mode."""

    def forward(self, x):
        return x * (1 + 0.1 * torch.randn_like(x))


def test_momentum_raises_the_threshold():
    plain, heavy = (sgd(0.1, momentum=m)(mlp(2, 2).parameters()) for m in (0.0, 0.9))
    assert stability_threshold(heavy, heavy.param_groups[0])[0] == pytest.approx(1.9 * stability_threshold(plain, plain.param_groups[0])[0])


def test_chaos_is_told_from_arithmetic():
    class Chaotic(nn.Module):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(3.9))

        def forward(self, x):
            y = torch.sigmoid(x)
            for _ in range(60):
                y = self.rate * y * (1 - y)
            return y

    seen = twin(Chaotic, regression(2, 2))
    assert seen.difference > 1e-3
    assert 8 * seen.sensitivity > seen.difference
    assert twin(lambda: mlp(4, 5, 2)).sensitivity < 1e-4


def test_outputs_whose_number_depends_on_rounding_are_not_compared():
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(4, 2)

        def forward(self, x):
            y = self.dense(x)
            return y[: 3 if y.dtype == torch.float64 else 4]

    with pytest.raises(NotApplicable, match="other shapes in float64"):
        precision_twin(Subject("small", lambda seed: Setup(Sparse(), Batch((torch.randn(5, 4),)))), BUDGET, 0)


@pytest.mark.parametrize("name", ["structure", "normalization_calls", "normalized_weights"])
def test_an_empty_batch_is_told(name):
    def make(seed):
        return Setup(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), Batch((torch.zeros(0, 4),)))

    with pytest.raises(NotApplicable, match="the batch is empty"):
        probe(name)(Subject("empty", make), BUDGET, 0)
