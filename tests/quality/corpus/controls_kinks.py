"""Correct models at points where the function has a kink: exact zeros, integers, ties, thresholds, coinciding points."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .case import Control, Expression, Facts, facts


def grid(*shape: int, values: int = 3) -> Tensor:
    """Small whole numbers around zero."""
    return torch.randint(-(values // 2), values // 2 + 1, shape).double()


def chain(*layers: nn.Module) -> nn.Sequential:
    """Layers one after another."""
    return nn.Sequential(*layers)


def head(function: Callable[[Tensor], Tensor], features: int) -> Expression:
    """A dense layer behind a function of the input itself."""
    return Expression(lambda m, x: m.out(function(x)), out=nn.Linear(features, 2))


def zeroed(layer: nn.Linear) -> nn.Linear:
    """A layer initialised with zeros."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def dead_start() -> Facts:
    """Every pre-activation of the second layer is exactly zero."""
    return facts(chain(nn.Linear(3, 4), nn.Tanh(), zeroed(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2)), torch.randn(4, 3))


def absolute_errors() -> Facts:
    """Half of the predictions hit their target exactly."""
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    with torch.no_grad():
        model.weight.copy_(grid(2, 3))
        model.bias.zero_()
    x = grid(4, 3)
    targets = x @ model.weight.detach().double().t()
    targets[:2] += 1
    return facts(model, x, targets=targets, loss=functional.l1_loss)


def hinge() -> Facts:
    """Scores exactly at the margin."""

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        return (1 - output[:, 0] * targets).clamp_min(0).mean()

    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0]]))
    return facts(model, torch.tensor([[1.0, 2.0], [-1.0, 1.0], [3.0, 0.0]]), targets=torch.tensor([1.0, -1.0, -1.0]), loss=loss)


def gate_ties() -> Facts:
    """A router that starts at zero: all experts tie."""

    def mixture(m: Any, x: Tensor) -> Tensor:
        gate, choice = torch.softmax(m.router(x), -1).topk(1)
        both = torch.stack([m.a(x), m.b(x)], 1)
        return gate * both.gather(1, choice[..., None].expand(-1, -1, both.shape[-1]))[:, 0]

    return facts(Expression(mixture, router=zeroed(nn.Linear(3, 2)), a=nn.Linear(3, 2), b=nn.Linear(3, 2)), torch.randn(4, 3))


def coinciding() -> Facts:
    """Distances between points of which two coincide."""
    x = torch.randn(4, 3)
    x[2] = x[0]
    return facts(head(lambda x: torch.cdist(x, x), 4), x)


def on_pixels() -> Facts:
    """An image sampled on its own grid, moved by a learnt offset that starts at zero."""
    line = torch.linspace(-1, 1, 5, dtype=torch.float64)
    own = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(2, 5, 5, 2)

    def sample(m: Any, x: Tensor) -> Tensor:
        return functional.grid_sample(x, own + m.offset, align_corners=True, padding_mode="border")

    return facts(Expression(sample, offset=torch.zeros(2)), torch.randn(2, 2, 5, 5))


def zero_row(function: Callable[[Tensor], Tensor], features: int) -> Facts:
    """A function of rows, one of which is zero."""
    x = torch.randn(4, 3)
    x[1] = 0
    return facts(head(function, features), x)


def _kink(name: str, trait: str, build: Callable[[], Facts]) -> Control:
    return Control(id=f"kinks/{name}", trait=trait, build=build, kind="kink")


CONTROLS = (
    _kink("relu-whole-numbers", "inputs of a ReLU exactly zero", lambda: facts(chain(nn.ReLU(), nn.Linear(4, 2)), grid(5, 4))),
    _kink("relu-all-zero", "the whole input zero", lambda: facts(chain(nn.ReLU(), nn.Linear(4, 2)), torch.zeros(3, 4))),
    _kink("relu-dead-start", "a layer of zeros before a ReLU", dead_start),
    _kink("relu6-thresholds", "values at both thresholds", lambda: facts(chain(nn.ReLU6(), nn.Linear(3, 2)), 6.0 * grid(4, 3))),
    _kink("leaky-prelu", "learnt slope at zero", lambda: facts(chain(nn.PReLU(3), nn.LeakyReLU(0.2), nn.Linear(3, 2)), grid(4, 3))),
    _kink("hard-sigmoid", "values at both thresholds", lambda: facts(chain(nn.Hardsigmoid(), nn.Linear(3, 2)), 3.0 * grid(4, 3))),
    _kink("hard-tanh", "values at both limits", lambda: facts(chain(nn.Hardtanh(), nn.Linear(3, 2)), grid(4, 3))),
    _kink("soft-shrink", "values at the threshold", lambda: facts(chain(nn.Softshrink(0.5), nn.Linear(3, 2)), 0.5 * grid(4, 3))),
    _kink("clamp-bounds", "values at the bounds of a clamp", lambda: facts(head(lambda x: x.clamp(0, 1), 3), grid(4, 3))),
    _kink("absolute-value", "|x| at zero", lambda: facts(head(torch.abs, 3), grid(4, 3))),
    _kink(
        "pool-binary-image",
        "ties in every window",
        lambda: facts(chain(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)), torch.randint(2, (2, 2, 4, 4)).double()),
    ),
    _kink(
        "pool-behind-relu",
        "overlapping windows of exact zeros",
        lambda: facts(chain(nn.ReLU(), nn.MaxPool1d(3, 1), nn.Flatten(), nn.Linear(8, 2)), grid(3, 2, 6)),
    ),
    _kink(
        "pool-adaptive-integers",
        "ties on a grid of whole numbers",
        lambda: facts(chain(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)), grid(2, 2, 5, 5)),
    ),
    _kink("sort-duplicates", "equal entries sorted", lambda: facts(head(lambda x: x.sort(-1)[0] * torch.arange(4.0), 4), grid(4, 4))),
    _kink("median-duplicates", "a median that is not unique", lambda: facts(head(lambda x: x.median(-1, keepdim=True)[0], 1), grid(4, 5))),
    _kink(
        "quantile", "a quantile between equal entries", lambda: facts(head(lambda x: x.quantile(0.3, dim=-1, keepdim=True), 1), grid(4, 5))
    ),
    _kink("topk-ties", "the k-th largest is not unique", lambda: facts(head(lambda x: x.topk(2, -1)[0], 2), grid(4, 5))),
    _kink("cumulative-maximum", "ties along the way", lambda: facts(head(lambda x: x.cummax(-1)[0], 4), grid(4, 4))),
    _kink(
        "maximum-of-equals",
        "max over equal entries, gradient shared",
        lambda: facts(head(lambda x: x.amax(-1, keepdim=True), 1), grid(4, 4)),
    ),
    _kink("maximum-of-two", "two equal arguments", lambda: facts(head(lambda x: torch.maximum(x, x.flip(0)), 3), grid(4, 3))),
    _kink(
        "minimum-with-itself",
        "minimum of a tensor and its absolute value",
        lambda: facts(head(lambda x: torch.minimum(x, x.abs()), 3), grid(4, 3)),
    ),
    _kink("absolute-errors", "predictions equal to their targets", absolute_errors),
    _kink("hinge-margin", "scores exactly at the margin", hinge),
    _kink("router-from-zero", "all experts tie", gate_ties),
    _kink("distance-zero", "coinciding points", coinciding),
    _kink("length-of-zero", "norm of a zero row", lambda: zero_row(lambda x: x.norm(dim=-1, keepdim=True), 1)),
    _kink("direction-of-zero", "a zero row normalised, gradient 1e12", lambda: zero_row(functional.normalize, 3)),
    _kink("grid-on-pixels", "bilinear sampling exactly on the pixels", on_pixels),
    _kink(
        "smooth-l1-threshold",
        "errors exactly one",
        lambda: facts(nn.Identity(), grid(4, 3), targets=torch.zeros(4, 3), loss=functional.smooth_l1_loss),
    ),
)
