"""Set-ups with inputs, or targets, of mean 0 and standard deviation 1."""

from dataclasses import replace
from typing import Any

import torch

from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.subject import Batch, Setup


def standardised_inputs(setup: Setup) -> Setup | None:
    """The set-up with standardised numeric inputs; ``None`` where there are none that vary, or all are near that already."""
    changed = _Standardised()
    batch = setup.batch
    args = tuple(mapped(value, changed) for value in batch.args)
    kwargs = {name: mapped(value, changed) for name, value in batch.kwargs.items()}
    return replace(setup, batch=Batch(args, kwargs, batch.targets)) if changed.count else None


def standardised_targets(setup: Setup) -> Setup | None:
    """The set-up with standardised numeric targets; ``None`` where there are none that vary, or all are near that already."""
    changed = _Standardised()
    targets = mapped(setup.batch.targets, changed)
    return replace(setup, batch=replace(setup.batch, targets=targets)) if changed.count else None


class _Standardised:
    """Floating tensors to mean 0 and standard deviation 1: per column of a matrix, over all entries otherwise.

    Columns that do not vary keep their values; ``count`` is the number of tensors with a column that was far from it: its standard
    deviation not within a factor of two of 1, or its mean above one half.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, tensor: Any) -> Any:
        if not tensor.is_floating_point() or tensor.numel() < 2:
            return tensor
        axes = (0,) if tensor.dim() == 2 and tensor.shape[0] > 2 else tuple(range(tensor.dim()))
        mean, deviation = tensor.mean(axes, keepdim=True), tensor.std(axes, keepdim=True)
        varies = deviation > torch.finfo(tensor.dtype).eps * tensor.abs().amax(axes, keepdim=True)
        far = (deviation > 2.0) | (deviation < 0.5) | (mean.abs() > 0.5)
        self.count += bool((varies & far).any())
        return torch.where(varies, (tensor - mean) / torch.where(varies, deviation, torch.ones_like(deviation)), tensor)
