"""Directions: one joint perturbation of an experiment's tensors, each entry moved in proportion to the size of its tensor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import DATA, FAILURES, Experiment, Linearization, inner

_LARGE: Final = 1e6
_MASKING: Final = 1e8
_SCRATCHED: Final = 1 << 16


@dataclass(slots=True)
class Direction:
    """A direction in the space of some of an experiment's tensors.

    ``vectors`` have entries of size about 1 and are multiplied by ``steps``, the scale of each tensor, so that a step of
    size h changes every tensor by about h relative to itself. ``analytic`` is Σ<g, step·vector>; ``scale`` the root of
    Σ(|g|·step)², the size of what is added up in it.
    """

    positions: list[int]
    vectors: list[torch.Tensor]
    steps: list[float]
    analytic: float
    scale: float
    zeros: bool
    scaling: str = "size"
    scratch: dict[int, torch.Tensor] = field(default_factory=dict)


def direction(
    experiment: Experiment, linear: Linearization, draws: Draws, positions: Sequence[int] | None = None,
    masks: Sequence[torch.Tensor] = (), scaling: str = "size",
) -> Direction:
    """A random direction over the tensors at ``positions`` (by default all but plain data that no gradient reaches).

    ``masks``, one per position, restrict it to some entries. ``scaling`` moves entries in proportion to their tensor's ``size``
    (root mean square), its ``deviation`` from its mean, or each ``entry`` itself.
    """
    chosen = reached(experiment, linear) if positions is None else list(positions)
    vectors, steps, sizes = [], [], []
    for place, position in enumerate(chosen):
        tensor, gradient = experiment.tensors[position].data, linear.gradients[position]
        vector = draws.like(tensor)
        step, vector = _scaled(tensor, vector) if scaling == "size" else _otherwise(tensor, vector, scaling)
        mask = experiment.untouched.get(position)
        if mask is not None:
            vector = torch.where(mask, torch.zeros_like(vector), vector)
            gradient = None if gradient is None else gradient.masked_fill(mask, 0)
        if masks:
            vector = torch.where(masks[place], vector, torch.zeros_like(vector))
        vectors.append(vector)
        steps.append(step)
        weighted = gradient if gradient is None or scaling != "entry" else gradient * tensor.abs().clamp(max=_MASKING)
        sizes.append(0.0 if weighted is None else float(torch.linalg.vector_norm(weighted)))
    zeros = any(step == 0.0 for step in steps)
    if zeros:
        steps = _filled(steps, sizes)
    scale = math.sqrt(sum((size * step) ** 2 for size, step in zip(sizes, steps, strict=True)))
    analytic = 0.0
    for position, vector, step in zip(chosen, vectors, steps, strict=True):
        gradient = linear.gradients[position]
        if gradient is not None:
            analytic += step * float(inner(gradient, vector))
    return Direction(chosen, vectors, steps, analytic, scale, zeros, scaling)


def reached(experiment: Experiment, linear: Linearization) -> list[int]:
    """Positions of the tensors to compare: not plain data to which no gradient is sent (a mask, a table of neighbours)."""
    pairs = zip(experiment.roles, linear.gradients, strict=True)
    return [position for position, (role, gradient) in enumerate(pairs) if role != DATA or gradient is not None]


def _scaled(tensor: torch.Tensor, vector: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The root mean square of a tensor, and the vector without the entries that stand for a mask rather than a number."""
    step = float(torch.linalg.vector_norm(tensor)) / math.sqrt(max(1, tensor.numel()))
    if step < _LARGE:
        return step, vector
    usual = torch.isfinite(tensor) & (tensor.abs() < _MASKING)
    if not bool(usual.any()):
        usual = torch.isfinite(tensor)
    size = float(torch.linalg.vector_norm(tensor[usual])) / math.sqrt(max(1, int(usual.sum())))
    return size, torch.where(usual, vector, torch.zeros_like(vector))


def _otherwise(tensor: torch.Tensor, vector: torch.Tensor, scaling: str) -> tuple[float, torch.Tensor]:
    usual = torch.isfinite(tensor) & (tensor.abs() < _MASKING)
    kept = torch.where(usual, tensor, torch.zeros_like(tensor))
    if scaling == "entry":
        return 1.0, vector * kept.abs()
    count = max(1, int(usual.sum()))
    centred = torch.where(usual, tensor - kept.sum() / count, torch.zeros_like(tensor))
    size = float(torch.linalg.vector_norm(centred)) / math.sqrt(count)
    return size or float(torch.linalg.vector_norm(kept)) / math.sqrt(count), torch.where(usual, vector, torch.zeros_like(vector))


def _filled(steps: list[float], sizes: list[float]) -> list[float]:
    """Scales for tensors of zeros: as much as makes their part as large as the others', at most 1."""
    others = math.sqrt(sum((size * step) ** 2 for size, step in zip(sizes, steps, strict=True)))
    return [step or (min(1.0, others / size) if size > 0 and others > 0 else 1.0) for step, size in zip(steps, sizes, strict=True)]


def shifted(experiment: Experiment, along: Direction, length: float, base: Sequence[torch.Tensor]) -> None:
    """Put the tensors at ``base + length·direction``, with the strides they had."""
    for position, vector, step, value in zip(along.positions, along.vectors, along.steps, base, strict=True):
        if not value.is_contiguous():
            moved = value.clone().add_(vector, alpha=length * step)
        elif value.numel() < _SCRATCHED:
            moved = torch.add(value, vector, alpha=length * step)
        else:
            moved = torch.add(value, vector, alpha=length * step, out=_scratch(along, position, value))
        experiment.tensors[position].data = moved


def _scratch(along: Direction, position: int, value: torch.Tensor) -> torch.Tensor:
    """Memory for a large tensor's moved values, used again: fresh memory costs more than the arithmetic."""
    found = along.scratch.get(position)
    if found is None:
        found = along.scratch[position] = torch.empty_like(value)
    return found


def values_at(experiment: Experiment, along: Direction, length: float, graph: bool = False) -> list[torch.Tensor]:
    """The outputs at a distance along the direction; the tensors are put back, whatever happens."""
    base = [experiment.tensors[position].data for position in along.positions]
    shifted(experiment, along, length, base)
    try:
        outputs = experiment.outputs(graph)
    finally:
        for position, value in zip(along.positions, base, strict=True):
            experiment.tensors[position].data = value
    if along.scratch:
        lent = {buffer.untyped_storage().data_ptr() for buffer in along.scratch.values()}
        outputs = [output.clone() if output.untyped_storage().data_ptr() in lent else output for output in outputs]
    return outputs


def central(experiment: Experiment, linear: Linearization, along: Direction, length: float) -> float:
    """The central difference of Σ<u, f> over ``2·length``; entries are subtracted before they are summed.

    NaN where the run fails there, or gives tensors of other shapes.
    """
    try:
        above = values_at(experiment, along, length)
        below = values_at(experiment, along, -length)
    except FAILURES:
        return math.nan
    if len(above) != len(below) or any(a.shape != b.shape for a, b in zip(above, below, strict=True)):
        return math.nan
    if any(index >= len(above) or above[index].shape != u.shape for index, u in zip(linear.live, linear.cotangents, strict=True)):
        return math.nan
    total = 0.0
    for index, cotangent in zip(linear.live, linear.cotangents, strict=True):
        total += float(inner(cotangent, above[index] - below[index]))
    return total / (2 * length)
