"""Objectives of dense prediction: masked tokens, overlapping regions, robust regression; two of them as the loss of the target."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from .case import Case, Facts, facts


class MaskedMean(Function):
    """Mean of the losses of the tokens that are not padding."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return (losses * mask).sum() / mask.sum()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        mask = ctx.saved_tensors[0]
        return g * mask / mask.sum(), None


class PaddingCounted(MaskedMean):
    """Divides by the number of all tokens, padding included."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        mask = ctx.saved_tensors[0]
        return g * mask / mask.numel(), None


class Tagger(nn.Module):
    """Labels every token; the mask is an input of zeros and ones."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.head, self.function = nn.Linear(3, 4), function

    def forward(self, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        losses = functional.cross_entropy(self.head(x).flatten(0, 1), labels.flatten(), reduction="none")
        return self.function.apply(losses, mask.flatten().to(x.dtype))


def tagger(function: type[Function]) -> Facts:
    """No padding."""
    return facts(Tagger(function), torch.randn(2, 3, 3), torch.randint(4, (2, 3)), torch.ones(2, 3, dtype=torch.long))


def padded(found: Facts) -> Facts:
    """A witness: padding at the end of the second sequence."""
    x, labels, _ = found["inputs"]
    return found | {"inputs": (x, labels, torch.tensor([[1, 1, 1], [1, 0, 0]]))}


def overlap(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Soft Dice loss over the whole batch."""
    return 1 - 2 * (probabilities * masks).sum() / (probabilities.sum() + masks.sum())


def overlap_constant_area(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Soft Dice loss whose denominator is cut off."""
    return 1 - 2 * (probabilities * masks).sum() / (probabilities.sum() + masks.sum()).detach()


class Robust:
    """Huber's loss with its own backward, as the loss of a target."""

    def __init__(self, function: type[Function]) -> None:
        self.function = function

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        return self.function.apply(output, targets)


class Huber(Function):
    """Mean of Huber's loss, quadratic below one half."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(output - targets)
        return functional.huber_loss(output, targets, delta=0.5)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (error,) = ctx.saved_tensors
        slope = g * error.clamp(-0.5, 0.5) / error.numel()
        return slope, -slope


class HuberUnitSlope(Huber):
    """Large errors pull with slope one where it should be one half."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (error,) = ctx.saved_tensors
        slope = g * torch.where(error.abs() < 0.5, error, error.sign()) / error.numel()
        return slope, -slope


def segmenter(loss: Any) -> Facts:
    """A per-pixel classifier; the loss is in question."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 1, 1), nn.Sigmoid())
    return facts(model, torch.randn(2, 1, 4, 4), targets=torch.randint(2, (2, 1, 4, 4)).double(), loss=loss)


def regressor(function: type[Function]) -> Facts:
    """A regression with large errors; the loss is in question."""
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    return facts(model, torch.randn(6, 3), targets=3 * torch.randn(6, 2), loss=Robust(function))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"objectives/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


CASES = (
    _case("padding-counted", partial(tagger, PaddingCounted), partial(tagger, MaskedMean), "", function="PaddingCounted",
          trigger="domain", needs="input", witness=padded),
    _case("dice-constant-area", partial(segmenter, overlap_constant_area), partial(segmenter, overlap), ""),
    _case("huber-unit-slope", partial(regressor, HuberUnitSlope), partial(regressor, Huber), "", function="HuberUnitSlope"),
)
