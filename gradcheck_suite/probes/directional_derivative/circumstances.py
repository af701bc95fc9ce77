"""Circumstances of an experiment: what a run shows beside its values, and entries or outputs that are a matter of their own."""

import torch

from gradcheck_suite.numerics.differences import DOUBLE
from gradcheck_suite.probes.directional_derivative.directions import Direction, values_at
from gradcheck_suite.probes.directional_derivative.experiment import Experiment, Linearization
from gradcheck_suite.probes.directional_derivative.observation import ROUNDOFF, Observation, Seen


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Same shape and values, NaN equal to NaN."""
    return first.shape == second.shape and bool(((first == second) | (torch.isnan(first) & torch.isnan(second))).all())


def observed(experiment: Experiment) -> Seen:
    """What one run of the experiment shows beside its values."""
    mode = Observation(lambda: experiment.handed)
    with mode:
        outputs = experiment.outputs(graph=True)
    for tensor in (*experiment.tensors, *outputs):
        roundoff = ROUNDOFF.get(tensor.dtype, DOUBLE)
        if roundoff > mode.seen.roundoff:
            mode.seen.roundoff, mode.seen.narrow = roundoff, f"{str(tensor.dtype).removeprefix('torch.')} throughout"
    rows = [any(_same_memory(output, tensor) for tensor in mode.detached) for output in outputs]
    mode.seen.returned = tuple(index for index, row in enumerate(rows) if row)
    return mode.seen


def _same_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.layout == second.layout == torch.strided and first.dtype == second.dtype and first.is_set_to(second)


def spared(experiment: Experiment, seen: Seen) -> bool:
    """Leave out entries whose gradient PyTorch defines away, as a run showed; whether there are any more of them."""
    more = False
    for position, tensor in enumerate(experiment.tensors):
        rows = [row for table, row in seen.padding if table is tensor]
        defined = any(table is tensor for table in seen.defined)
        if position in experiment.untouched or not (rows or defined):
            continue
        mask = torch.zeros_like(tensor, dtype=torch.bool)
        mask[slice(None) if defined else rows] = True
        experiment.untouched[position] = mask
        more = True
    return more


def cut_outputs(experiment: Experiment, linear: Linearization, along: Direction, step: float = 1e-5) -> list[int]:
    """Outputs that carry no gradient although they move with the tensors."""
    if not linear.cut:
        return []
    above, below = values_at(experiment, along, step), values_at(experiment, along, -step)
    return [index for index in linear.cut if above[index].numel() > 1 and not equal(above[index], below[index])]

