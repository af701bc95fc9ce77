"""What a cross entropy means: the weight of its target on every class, and what its reduction makes of the rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

Tensor = torch.Tensor
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Settings:
    """The keywords of ``functional.cross_entropy``."""

    weight: Tensor | None = None
    ignore_index: int = IGNORED
    reduction: str = "mean"
    label_smoothing: float = 0.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """Rows of logits (rows, classes), the target's weights q on their classes, and a factor for each row.

    ``axis`` is where the classes lie in the logits' own shape; ``summed`` says that one number comes out, else one for each row.
    """

    axis: int
    weights: Tensor
    factor: Tensor
    summed: bool

    def rows(self, tensor: Tensor) -> Tensor:
        """A tensor of the logits' shape as (rows, classes)."""
        return tensor.movedim(self.axis, -1).reshape(-1, tensor.shape[self.axis])

    def value(self, logits: Tensor) -> Tensor:
        """What it must give: one number, or one for each row."""
        losses = self.factor * -(self.weights * functional.log_softmax(self.rows(logits).to(self.weights.dtype), -1)).sum(-1)
        return losses.sum() if self.summed else losses

    def gradient(self, logits: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What its gradient must be (rows, classes), the sizes of the two terms, and the largest length that a row can have over √2."""
        p = torch.softmax(self.rows(logits).to(self.weights.dtype), -1)
        c = (self.factor * cotangent.reshape(-1).to(self.weights.dtype)).unsqueeze(-1)
        total = self.weights.sum(-1, keepdim=True)
        return c * (total * p - self.weights), c.abs() * (total.abs() * p + self.weights.abs()), (c * total).abs().squeeze(-1)


def meaning(logits: Tensor, target: Tensor, settings: Settings) -> Meaning:
    """What ``functional.cross_entropy`` means by these arguments, in float64."""
    axis = 1 if logits.dim() > 1 else 0
    classes = logits.shape[axis]
    weight = torch.ones(classes, dtype=torch.float64, device=logits.device) if settings.weight is None else settings.weight.double()
    smoothing = settings.label_smoothing
    if target.is_floating_point():
        shares = target.double().movedim(axis, -1).reshape(-1, classes)
        weights = weight * (shares * (1 - smoothing) + smoothing / classes)
        divisor = torch.tensor(float(len(weights)))
    else:
        flat = target.reshape(-1)
        kept = flat != settings.ignore_index
        hits = weight * _hits(flat, kept, classes)
        divisor = hits.sum()
        weights = hits.mul_(1 - smoothing).add_(smoothing / classes * weight * kept.unsqueeze(-1)) if smoothing else hits
    factor = torch.ones(len(weights), dtype=torch.float64, device=logits.device)
    if settings.reduction == "mean":
        factor = factor / divisor.double()
    return Meaning(axis, weights, factor, settings.reduction != "none")


def _hits(flat: Tensor, kept: Tensor, classes: int) -> Tensor:
    """(rows, classes): 1 at the class of each row that is kept, else 0."""
    hits = torch.zeros(len(flat), classes, dtype=torch.float64, device=flat.device)
    return hits.scatter_(1, torch.where(kept, flat, 0).unsqueeze(-1), kept.double().unsqueeze(-1))


def candidates(logits: Tensor, target: Tensor, found: Any) -> Iterator[Meaning]:
    """The cross entropies without class weights, times a constant, that a function with this result may be, in float64."""
    if not isinstance(found, Tensor) or not found.is_floating_point():
        return
    for axis in dict.fromkeys((logits.dim() - 1, min(1, logits.dim() - 1))):
        for weights in _targets(logits, target, axis):
            plain = Meaning(axis, weights, torch.ones(len(weights), dtype=torch.float64, device=logits.device), found.numel() == 1)
            constant = float(found.detach().double().sum()) / (float(plain.value(logits).sum()) or math.inf)
            if math.isfinite(constant) and constant != 0:
                yield Meaning(axis, weights, constant * plain.factor, plain.summed)


def _targets(logits: Tensor, target: Tensor, axis: int) -> Iterator[Tensor]:
    """The target's weights (rows, classes), where the shapes fit and the numbers are classes or shares of them."""
    classes = logits.shape[axis]
    rest = [size for place, size in enumerate(logits.shape) if place != axis]
    if classes < 2:
        return
    if target.is_floating_point():
        shares = target.double().movedim(axis, -1).reshape(-1, classes) if target.shape == logits.shape else None
        if shares is not None and bool((shares >= 0).all()) and torch.allclose(shares.sum(-1), torch.ones(1, dtype=torch.float64)):
            yield shares
    elif not target.dtype.is_complex and target.dtype != torch.bool and math.prod(rest) == target.numel():
        flat = target.reshape(-1).long()
        kept = flat != IGNORED
        if bool(((flat >= 0) & (flat < classes) | ~kept).all()):
            yield _hits(flat, kept, classes)


def same(found: Any, one: Meaning, logits: Tensor, tolerance: float) -> bool:
    """Whether a function's result is what it must be by this meaning."""
    if not isinstance(found, Tensor) or (found.numel() != 1 if one.summed else found.numel() != len(one.factor)):
        return False
    expected = one.value(logits)
    found = found.detach().double().reshape(expected.shape)
    return bool(torch.isfinite(expected).all()) and bool((found - expected).norm() <= tolerance * expected.norm())
