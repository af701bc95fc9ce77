"""Localisation inside a place that disagrees: tensor by tensor, the worst entry, the pattern of the error."""

import math
from typing import Final

import torch

from gradcheck_suite.captures.directional_derivative import TensorComparison
from gradcheck_suite.numerics.differences import derivative
from gradcheck_suite.probes.directional_derivative.comparison import DISAGREES, Look, compare, glance
from gradcheck_suite.probes.directional_derivative.directions import Direction, central, direction, values_at
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, Experiment, Linearization, inner
from gradcheck_suite.probes.directional_derivative.patterns import Samples, pattern

_MOST_DETAILED: Final = 4
_MOST_ENTRIES: Final = 160
_STEP: Final = 6e-6


def breakdown(experiment: Experiment, found: Examination, draws: Draws, look: Look) -> tuple[TensorComparison, ...]:
    """Tensors that disagree by themselves, the worst first, each with its worst entry and the pattern of the error."""
    suspects: list[tuple[float, int]] = []
    for position in found.along.positions:
        along = direction(experiment, found.linear, draws, [position])
        if glance(experiment, found.linear, along, look) is None:
            gap = abs(along.analytic - central(experiment, found.linear, along, look.steps[0]))
            suspects.append((-gap / along.scale if along.scale and math.isfinite(gap) else -math.inf, position))
    wrong: list[TensorComparison] = []
    for _, position in sorted(suspects):
        outcome = compare(experiment, found.linear, direction(experiment, found.linear, draws, [position]), look)
        if outcome.status == DISAGREES:
            entry, analytic, numeric, words = _detail(experiment, found.linear, position, look)
            wrong.append(TensorComparison(
                name=experiment.names()[position], role=experiment.roles[position], analytic=outcome.analytic, numeric=outcome.numeric,
                error=outcome.error, scale=outcome.scale, entry=entry, entry_analytic=analytic, entry_numeric=numeric, pattern=words))
            if len(wrong) == _MOST_DETAILED:
                break
    return tuple(wrong)


def _detail(experiment: Experiment, linear: Linearization, position: int, look: Look) -> tuple[tuple[int, ...] | None, float, float, str]:
    tensor, gradient = experiment.tensors[position].data, linear.gradients[position]
    if tensor.is_complex() or tensor.numel() == 0:
        return None, math.nan, math.nan, ""
    analytic = torch.zeros_like(tensor) if gradient is None else gradient
    samples = _samples(experiment, linear, position, analytic, _MOST_ENTRIES if look.harder else _MOST_ENTRIES // 4)
    words = pattern(samples, gradient is None, _axes(experiment, linear))
    if not len(samples.indices):
        return None, math.nan, math.nan, words
    gap = torch.nan_to_num((samples.chosen - samples.numeric).abs(), nan=math.inf)
    worst = int(gap.argmax())
    flat = int(samples.indices[worst])
    shape = tensor.shape
    entry = tuple(int(part) for part in torch.unravel_index(torch.tensor(flat), shape)) if tensor.dim() else ()
    numeric = _precise(experiment, linear, position, flat)
    return entry, float(analytic.reshape(-1)[flat]), numeric, words


def _axes(experiment: Experiment, linear: Linearization) -> tuple[int, ...]:
    """Lengths that a lost or added reduction would show: of axes of inputs and outputs, and of all of an output."""
    shapes = [tuple(tensor.shape) for tensor in (*experiment.tensors, *linear.base)]
    return tuple(dict.fromkeys([size for shape in shapes for size in shape] + [math.prod(shape) for shape in shapes]))


def _samples(experiment: Experiment, linear: Linearization, position: int, analytic: torch.Tensor, most: int) -> Samples:
    """Numeric entries: all of a small tensor; of a large one, those that bisection leads to, their neighbours, and a spread."""
    count = analytic.numel()
    if count <= most:
        indices = list(range(count))
    else:
        worst = _bisected(experiment, linear, position, analytic)
        stride = max(1, count // (most // 2))
        last = analytic.shape[-1]
        row = (worst // last) * last
        near = [*range(row, row + min(last, 16)), *range(worst % last, count, max(last, count // 16))]
        indices = sorted({worst, *range(0, count, stride), *near})[: 2 * most]
    numeric = torch.tensor([_entry(experiment, linear, position, index) for index in indices], dtype=torch.float64)
    rounding = 4 * 2.0**-53 * linear.magnitude / (_STEP * _scale(experiment.tensors[position].data))
    return Samples(analytic.double(), torch.tensor(indices), numeric, rounding)


def _bisected(experiment: Experiment, linear: Linearization, position: int, analytic: torch.Tensor) -> int:
    """The entry that halving leads to: at each step into the half with the larger disagreement along a random direction."""
    low, high = 0, analytic.numel()
    draws = Draws(position + 1)
    while high - low > 1:
        middle = (low + high) // 2
        gaps = [_block_gap(experiment, linear, position, analytic, (start, end), draws) for start, end in ((low, middle), (middle, high))]
        low, high = (low, middle) if gaps[0] >= gaps[1] else (middle, high)
    return low


def _block_gap(
    experiment: Experiment, linear: Linearization, position: int, analytic: torch.Tensor, block: tuple[int, int], draws: Draws
) -> float:
    value = experiment.tensors[position].data
    vector = torch.zeros(value.numel(), dtype=value.dtype)
    vector[block[0] : block[1]] = draws.like(vector[block[0] : block[1]])
    vector = vector.view(value.shape)
    gap = abs(float(inner(analytic, vector)) - _along(experiment, linear, position, vector, _STEP * _scale(value)))
    return gap if math.isfinite(gap) else math.inf


def _entry(experiment: Experiment, linear: Linearization, position: int, index: int) -> float:
    value = experiment.tensors[position].data
    vector = torch.zeros(value.numel(), dtype=value.dtype)
    vector[index] = 1.0
    return _along(experiment, linear, position, vector.view(value.shape), _STEP * _scale(value))


def _along(experiment: Experiment, linear: Linearization, position: int, vector: torch.Tensor, step: float) -> float:
    along = Direction([position], [vector], [1.0], 0.0, 0.0, False)
    try:
        above, below = values_at(experiment, along, step, graph=True), values_at(experiment, along, -step, graph=True)
    except FAILURES:
        return math.nan
    parts = (inner(u, above[i] - below[i]) for i, u in zip(linear.live, linear.cotangents, strict=True))
    return sum(float(part) for part in parts) / (2 * step)


def _precise(experiment: Experiment, linear: Linearization, position: int, index: int) -> float:
    """The derivative with respect to one entry from a ladder of steps."""
    value = experiment.tensors[position].data
    vector = torch.zeros(value.numel(), dtype=value.dtype)
    vector[index] = _scale(value)
    along = Direction([position], [vector.view(value.shape)], [1.0], 0.0, 0.0, False)

    def function(length: float) -> float:
        values = values_at(experiment, along, length, graph=True)
        return sum(float(inner(u, values[i] - base)) for i, u, base in zip(linear.live, linear.cotangents, linear.base, strict=True))

    try:
        found = derivative(function, first_step=1e-2, levels=6, magnitude=linear.magnitude)
    except FAILURES:
        return math.nan
    return found.value / _scale(value)


def _scale(value: torch.Tensor) -> float:
    size = float(torch.linalg.vector_norm(value)) / math.sqrt(max(1, value.numel()))
    return size if 0 < size < 1e6 else 1.0
