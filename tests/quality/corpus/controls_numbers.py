"""Correct models with awkward numbers: scales, offsets, saturation, curvature, narrow types, complex values, declared mismatches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from .case import Control, Expression, Facts, facts


def express(forward: Callable[..., Any], *inputs: Tensor, dtype: torch.dtype = torch.float64, **parts: nn.Module | Tensor) -> Facts:
    """A forward given as a function."""
    return facts(Expression(forward, **parts), *inputs, dtype=dtype)


def single(forward: Callable[[Any, Tensor], Any], inputs: int = 3, units: int = 4, scale: float = 1.0) -> Facts:
    """A forward over one dense layer ``a``."""
    return express(forward, scale * torch.randn(4, inputs), a=nn.Linear(inputs, units))


def island(m: Any, x: Tensor) -> Tensor:
    """A softmax in float32 whatever the model's precision."""
    return m.b(torch.softmax(m.a(x).float(), -1).to(x.dtype))


def narrow_region(m: Any, x: Tensor) -> Tensor:
    """A region under autocast, which leaves float64 alone."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = torch.tanh(m.a(x))
    return m.b(y.to(x.dtype))


def two_layers(dtype: torch.dtype) -> Facts:
    """A small network in one precision."""
    return facts(
        nn.Sequential(nn.Linear(3, 6), nn.GELU(approximate="tanh"), nn.LayerNorm(6), nn.Linear(6, 2)), torch.randn(4, 3), dtype=dtype
    )


def logistic_map(steps: int) -> Facts:
    """A chaotic map iterated; its conditioning doubles with every step."""

    def iterate(m: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(m.a(x))
        for _ in range(steps):
            y = 3.99 * y * (1 - y)
        return y

    return single(iterate)


def covariance(m: Any, x: Tensor) -> Tensor:
    """A symmetric positive definite matrix."""
    y = m.a(x)
    return y.t() @ y / 4 + torch.eye(4, dtype=x.dtype)


def saturated() -> Facts:
    """Four sigmoids in a row: gradients of order 1e-6 and less."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(4, 4), nn.Sigmoid())]
    return facts(nn.Sequential(*layers), 8 * torch.randn(3, 4))


def small_gradient() -> Facts:
    """A loss of which everything is multiplied by 1e-9."""
    return facts(
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        torch.randn(4, 3),
        targets=torch.randn(4, 2),
        loss=lambda y, t: 1e-9 * functional.mse_loss(y, t),
    )


class Straight(Function):
    """Rounding whose gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class Reversal(Function):
    """Identity whose gradient changes its sign, for adversarial domain adaptation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


class Wrapped(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def declared(layer: nn.Module, reason: str, key: str = "1", *, x: Tensor | None = None) -> Facts:
    """The layer with the wanted mismatch is ``1``."""
    model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
    return facts(model, 2 * torch.randn(4, 3) if x is None else x) | {"intended": {key: reason}}


def padded() -> Facts:
    """Padding tokens in the batch: their row gets no gradient, by torch's convention."""
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 2))
    nn.init.normal_(model[0].weight)
    return facts(model, torch.tensor([[1, 4, 0], [2, 0, 0]])) | {"intended": {"0": "padding_idx: the padding row is not trained"}}


def unconverged() -> Facts:
    """A spectral norm whose vectors are still far from the singular ones, and constants for the gradient."""
    return declared(nn.utils.spectral_norm(nn.Linear(4, 4)), "singular vectors are constants of the backward")


def stopped() -> Facts:
    """A Siamese pair whose target branch is not trained through."""

    def compare(m: Any, a: Tensor, b: Tensor) -> Tensor:
        return functional.cosine_similarity(m.predict(m.encode(a)), m.encode(b).detach(), dim=-1)

    found = express(compare, torch.randn(4, 3), torch.randn(4, 3), encode=nn.Linear(3, 4), predict=nn.Linear(4, 4))
    return found | {"intended": {"": "stop-gradient on the target branch"}}


def _number(name: str, trait: str, build: Callable[[], Facts], **rest: Any) -> Control:
    return Control(id=f"numbers/{name}", trait=trait, build=build, **rest)


def _declared(name: str, trait: str, build: Callable[[], Facts]) -> Control:
    return Control(id=f"declared/{name}", trait=trait, build=build, kind="declared")


CONTROLS = (
    _number("large-inputs", "inputs of 1e6", lambda: single(lambda m, x: m.a(x).square(), scale=1e6)),
    _number("small-inputs", "inputs of 1e-8", lambda: single(lambda m, x: torch.tanh(m.a(x)), scale=1e-8)),
    _number(
        "mixed-scales",
        "features from 1e-6 to 1e6",
        lambda: express(
            lambda m, x: torch.tanh(m.a(x * torch.tensor([1e-6, 1.0, 1e6], dtype=x.dtype) * torch.tensor([1e6, 1.0, 1e-6], dtype=x.dtype))),
            torch.randn(4, 3),
            a=nn.Linear(3, 4),
        ),
    ),
    _number("large-outputs", "outputs of 1e10", lambda: single(lambda m, x: 1e10 * torch.tanh(m.a(x)))),
    _number("small-outputs", "outputs of 1e-10", lambda: single(lambda m, x: 1e-10 * torch.tanh(m.a(x)))),
    _number("offset", "a large constant is added", lambda: single(lambda m, x: torch.tanh(m.a(x)) + 1e6), tolerance=1e-3),
    _number("loss-offset", "a loss near 1e5", lambda: single(lambda m, x: m.a(x).square().sum() + 1e5), tolerance=1e-4),
    _number("small-gradient", "gradients of 1e-9", small_gradient),
    _number("saturated-sigmoids", "gradients that vanish", saturated, tolerance=1e-5),
    _number("saturated-softmax", "probabilities of 1e-20", lambda: single(lambda m, x: torch.softmax(40 * m.a(x), -1)), tolerance=1e-5),
    _number(
        "stable-sum-of-exponentials", "exponents of 1000", lambda: single(lambda m, x: torch.logsumexp(1000 + m.a(x), -1)), tolerance=1e-5
    ),
    _number("cancelling-exponentials", "expm1 of small values", lambda: single(lambda m, x: torch.expm1(1e-6 * m.a(x)) * 1e6)),
    _number("fast-sine", "a frequency of 300", lambda: single(lambda m, x: torch.sin(300 * m.a(x))), tolerance=1e-4),
    _number("steep-sigmoid", "a slope of 100", lambda: single(lambda m, x: torch.sigmoid(100 * m.a(x))), tolerance=1e-4),
    _number("chaotic-map", "an iterated map that doubles every error", lambda: logistic_map(40), reference=lambda: logistic_map(3)),
    _number(
        "constant-rows",
        "a normalised row without variance",
        lambda: express(lambda m, x: m.a(functional.layer_norm(x, (3,))), torch.ones(4, 3) * torch.randn(4, 1), a=nn.Linear(3, 2)),
        tolerance=1e-4,
    ),
    _number(
        "guarded-root",
        "a root behind two wheres",
        lambda: single(
            lambda m, x: torch.where(m.a(x) > 0.05, torch.where(m.a(x) > 0.05, m.a(x), torch.ones_like(m.a(x))).sqrt(), 0 * m.a(x))
        ),
    ),
    _number("determinant", "log-determinant", lambda: single(lambda m, x: torch.linalg.slogdet(covariance(m, x))[1])),
    _number(
        "cholesky",
        "triangular solve",
        lambda: single(
            lambda m, x: torch.linalg.solve_triangular(torch.linalg.cholesky(covariance(m, x)), torch.eye(4, dtype=x.dtype), upper=False)
        ),
    ),
    _number("eigenvalues", "of a symmetric matrix", lambda: single(lambda m, x: torch.linalg.eigvalsh(covariance(m, x)))),
    _number("pseudo-inverse", "of a tall matrix", lambda: single(lambda m, x: torch.linalg.pinv(m.a(x)[:, :2]))),
    _number(
        "power-zero", "zero to the power two", lambda: express(lambda m, x: m.a(x**2), torch.tensor([[0.0, 1.0, -2.0]]), a=nn.Linear(3, 2))
    ),
    _number(
        "complex-spectrum", "complex values inside", lambda: single(lambda m, x: torch.view_as_real(torch.fft.rfft(m.a(x))).flatten(1))
    ),
    _number(
        "complex-modulus",
        "modulus of a product of complex numbers",
        lambda: single(lambda m, x: (torch.view_as_complex(m.a(x).unflatten(-1, (2, 2))) * (1 + 2j)).abs()),
    ),
    _number(
        "float32-island",
        "a region that is always float32",
        lambda: express(island, torch.randn(4, 3), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        reference=lambda: express(lambda m, x: m.b(torch.softmax(m.a(x), -1)), torch.randn(4, 3), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        float64=False,
    ),
    _number(
        "float32", "a float32 model", lambda: two_layers(torch.float32), reference=lambda: two_layers(torch.float64), float64=False
    ),
    _number(
        "autocast",
        "float32 with a bfloat16 region",
        lambda: express(narrow_region, torch.randn(4, 3), a=nn.Linear(3, 4), b=nn.Linear(4, 2), dtype=torch.float32),
        reference=lambda: express(narrow_region, torch.randn(4, 3), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        float64=False,
    ),
    _declared("straight-through", "rounding", lambda: declared(Wrapped(Straight.apply), "straight-through estimator", "Straight")),
    _declared(
        "straight-through-detach",
        "x + (round(x) - x).detach()",
        lambda: declared(Wrapped(lambda x: x + (x.round() - x).detach()), "straight-through estimator"),
    ),
    _declared("reversal", "gradient reversal", lambda: declared(Wrapped(Reversal.apply), "gradient reversal", "Reversal")),
    _declared("padding-row", "padding_idx with padding in the batch", padded),
    _declared("unconverged-norm", "a spectral norm after one step", unconverged),
    _declared("stop-gradient", "a detached target branch", stopped),
)
