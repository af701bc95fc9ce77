"""Losses by name with the targets that fit them. They need nothing but torch, for ``to_python`` prints them as they stand here.

Classes lie on the last axis of a vector or sequence and on the channel axis of an image. Losses average over all samples and
positions. Targets come in float64 and int64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch.nn import functional


def mse(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error."""
    return functional.mse_loss(output, targets)


def smooth_l1(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Huber's loss with its kink at a difference of 1."""
    return functional.smooth_l1_loss(output, targets)


def bce(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of every entry; the output is logits."""
    return functional.binary_cross_entropy_with_logits(output, targets)


def rows(output: torch.Tensor) -> torch.Tensor:
    """The output as (samples and positions, classes)."""
    return (output.movedim(1, -1) if output.dim() == 4 else output).flatten(0, -2)


def cross_entropy(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy; the output is logits."""
    return functional.cross_entropy(rows(output), targets.flatten())


def nll(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of the log-softmax of the output."""
    return functional.nll_loss(functional.log_softmax(rows(output), -1), targets.flatten())


def kl(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the softmax of the output from the targets' distributions."""
    return functional.kl_div(functional.log_softmax(rows(output), -1), rows(targets), reduction="batchmean")


def contraction(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The output contracted with a random cotangent."""
    return (output * targets).sum()


def real_targets(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Standard normal, of the output's shape."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def binary_targets(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Zeros and ones, of the output's shape."""
    return torch.randint(0, 2, shape, generator=generator).double()


def class_targets(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """The index of a class for every sample and position."""
    axis = 1 if len(shape) == 4 else -1
    positions = [size for index, size in enumerate(shape) if index != axis % len(shape)]
    return torch.randint(0, shape[axis], positions, generator=generator)


def distribution_targets(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """A distribution over the classes for every sample and position, of the output's shape."""
    return torch.softmax(real_targets(shape, generator), 1 if len(shape) == 4 else -1)


Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss, how its targets are drawn, and whether the output is read as classes (at least two are then needed)."""

    function: Function
    targets: Callable[[tuple[int, ...], torch.Generator], torch.Tensor]
    classes: bool = False


LOSSES = MappingProxyType({
    "": Loss(contraction, real_targets),
    "mse": Loss(mse, real_targets),
    "cross-entropy": Loss(cross_entropy, class_targets, classes=True),
    "bce": Loss(bce, binary_targets),
    "smooth-l1": Loss(smooth_l1, real_targets),
    "kl": Loss(kl, distribution_targets, classes=True),
    "nll": Loss(nll, class_targets, classes=True),
})  # fmt: skip


def classes(output_shape: tuple[int, ...]) -> int:
    """The number of classes in an output sample of this shape."""
    return output_shape[0] if len(output_shape) == 3 else output_shape[-1]
