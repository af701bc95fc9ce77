"""Yardsticks from the subject's own loss: the best constant output, and the least loss within reach of the output's range."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from gradcheck_suite.captures.training import BEATEN, Reach
from gradcheck_suite.probes.execution import floating, hookable, tensors
from gradcheck_suite.probes.experiment import Experiment, samples_in
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.tail import Makers, Tail, tail_of
from gradcheck_suite.probes.training.searches import Objective, descends, falls_forever, minimum, pushed

Tensor = torch.Tensor
_STEPS = 60
_AGAIN = 20
# A best constant's loss below this is zero: nothing is told from it.
_LEAST = 1e-30
_SCALES = (0.0, 1.0, 10.0, 0.1)
_MOST_ENTRIES = 2**20


@dataclass(frozen=True, slots=True)
class Constant:
    """Loss of the best output that is the same for all samples, and what a second search from it still gained.

    NaN where it is no yardstick: where the loss falls without end (``unbounded`` then says whether that is a fault, see ``_faulty``), and
    where outputs that do depend on the sample have no lower loss. A critic of a batch of real and one of false samples, or a generator,
    is best at a constant output; what it has learnt cannot be told from there.
    """

    value: float
    error: float
    unbounded: bool = False


class Outputs:
    """The outputs of a subject as something to vary, and its loss as a function of them.

    ``values`` are the floating outputs, ``tails`` the functions that end each of them, ``moving`` the positions of those that carry a
    gradient, or of all where none does: the others (a teacher's output, a target network's) are data.
    """

    def __init__(self, run: Experiment) -> None:
        self.run = run
        with Makers(run.model) as makers:
            self.nested = run.output()
        found = [tensor for tensor in floating(self.nested) if not tensor.is_complex()]
        self.values = [tensor.detach() for tensor in found]
        self.tails: list[Tail | None] = [tail_of(tensor, makers.paths) for tensor in found]
        carried = [position for position, tensor in enumerate(found) if tensor.requires_grad]
        self.moving = carried or list(range(len(found)))
        self.samples = samples_in(self.nested, run.setup.batch)

    def loss(self, outputs: list[Tensor]) -> Tensor:
        """The loss that these outputs have."""
        assert self.run.setup.loss is not None
        value: Tensor = self.run.setup.loss(replaced(self.nested, outputs), self.run.setup.batch.targets)
        return value.reshape(())

    def pairs(self) -> list[tuple[Tensor, Tail | None]]:
        """The moving outputs, each with the functions that end it."""
        return [(self.values[position], self.tails[position]) for position in self.moving]

    def moved(self, outputs: list[Tensor]) -> Tensor:
        """The loss with these in the place of the moving outputs."""
        placed = dict(zip(self.moving, outputs, strict=True))
        return self.loss([placed.get(position, value) for position, value in enumerate(self.values)])


def best_constant(outputs: Outputs) -> Constant:
    """Minimise the subject's loss over outputs that do not depend on the sample, within the range of its last activation."""
    if outputs.samples < 2 or not outputs.values:
        return Constant(math.nan, math.nan)

    def loss(free: list[Tensor]) -> Tensor:
        return outputs.moved([(row if tail is None else _rowwise(tail, row)).expand(value.shape)
                              for (value, tail), row in zip(outputs.pairs(), free, strict=True)])

    best = math.inf
    chosen: list[Tensor] | None = None
    for start in _starts(outputs):
        found, free = minimum(loss, start, _STEPS)
        if found < best:
            best, chosen = found, free
    if chosen is None:
        return Constant(math.nan, math.nan)
    again, free = minimum(loss, chosen, _AGAIN)
    bottom = min(best, pushed(loss, again, free)[0])
    if falls_forever(loss, free):
        return Constant(math.nan, math.nan, unbounded=_faulty(outputs, loss))
    return Constant(bottom, best - min(best, again)) if _improvable(outputs, bottom, free) else Constant(math.nan, math.nan)


def _improvable(outputs: Outputs, constant: float, rows: list[Tensor]) -> bool:
    """Whether outputs that depend on the sample can explain as much of the best constant's loss as counts as something learnt.

    They are looked for within the range of the functions that end the model and beyond it (a range that excludes the targets is a fault
    of the model), from the best constant and from random outputs around it: a loss may have no slope at one of them. Steps down the
    gradient settle it for most losses. Where they do not, L-BFGS searches on, whose tolerances are absolute, so that the loss is
    searched as it is and in units of the constant's. It holds dozens of copies of the outputs: of more than 2^20 entries no search
    is made but down the gradient, and what that does not improve is no yardstick.
    """
    size = abs(constant)
    if size < _LEAST:
        return False
    wanted = constant - BEATEN * size
    large = sum(value.numel() for value, _ in outputs.pairs()) > _MOST_ENTRIES
    ends = [[tail for _, tail in outputs.pairs()]]
    if any(ends[0]):
        ends.append([None for _ in ends[0]])
    generator = torch.Generator().manual_seed(0)
    if any(descends(_around(outputs, rows, tails), _drawn(outputs, tails, scale, generator), size, wanted)
           for tails, scale in product(ends, _SCALES if large else _SCALES[:1])):
        return True
    return not large and any(
        minimum(_around(outputs, rows, tails, unit), _drawn(outputs, tails, scale, generator), _AGAIN)[0] < wanted / unit
        for tails, unit, scale in product(ends, (1.0, size), _SCALES))


def _around(outputs: Outputs, rows: list[Tensor], tails: list[Tail | None], unit: float = 1.0) -> Objective:
    """The loss in a unit, as a function of how far the outputs (or what is given to the tails) are from rows that are the same for all."""
    centres = [_rowwise(made, row).detach() if made is not None and tail is None else row.detach()
               for (_, made), tail, row in zip(outputs.pairs(), tails, rows, strict=True)]

    def loss(free: list[Tensor]) -> Tensor:
        made = [centre + max(1.0, float(centre.abs().max())) * value for centre, value in zip(centres, free, strict=True)]
        return outputs.moved([value if tail is None else tail.apply(value) for tail, value in zip(tails, made, strict=True)]) / unit

    return loss


def _drawn(outputs: Outputs, tails: list[Tail | None], scale: float, generator: torch.Generator) -> list[Tensor]:
    """Normal numbers of that scale in the shapes of the outputs or, where a tail is given, of what is given to it."""
    found = []
    for (value, _), tail in zip(outputs.pairs(), tails, strict=True):
        shape = value.shape if tail is None else tail.shape
        drawn = torch.randn(shape, generator=generator).mul_(scale) if scale else torch.zeros(shape)
        found.append(drawn.to(value.device, value.dtype))
    return found


def _faulty(outputs: Outputs, loss: Objective) -> bool:
    """Whether a loss that falls without end is a fault.

    Without targets the outputs may be an objective that the model computes, and a constant one means nothing. Log-probabilities weighted
    with both signs (policy gradients) rise without end as well: turning the sign would not mend them.
    """
    if not tensors(outputs.run.setup.batch.targets):
        return False
    if all(tail is None for tail in outputs.tails):
        return True
    _, free = minimum(lambda rows: -loss(rows), _starts(outputs)[0], _STEPS)
    return not falls_forever(lambda rows: -loss(rows), free)


def reach(outputs: Outputs, constant: float) -> Reach | None:
    """What the functions at the end of the model leave within reach; ``None`` where there is nothing to tell.

    Only for one floating output. Outer functions that the loss needs (the loss is unbounded or undefined without them) stay.
    """
    if len(outputs.values) != 1 or outputs.tails[0] is None:
        return None
    tail = outputs.tails[0]
    bottoms = []
    for dropped in range(len(tail.functions) + 1):
        def objective(free: list[Tensor], dropped: int = dropped) -> Tensor:
            return outputs.loss([tail.apply(free[0], dropped)])

        found, free = _from_both_sides(objective, tail.shape, outputs.values[0].dtype)
        bottoms.append(math.inf if dropped and falls_forever(objective, free) else found)
    inside, dropped = bottoms[0], min(range(len(bottoms)), key=lambda count: (bottoms[count], count))
    if not math.isfinite(inside):
        return None
    return Reach(functions=tail.names, module=tail.module, inside=inside, outside=bottoms[dropped], dropped=dropped)


def direct_share(run: Experiment, outputs: Outputs, initial: float) -> float:
    """Share of the initial loss that no output changes, where the loss depends on the parameters directly; else 0.

    A loss that runs modules itself (the residual of a differential equation at points of its own) is no penalty on parameters: 0.
    """
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    ran: list[object] = []
    owners = [module for _, module in hookable(run.model) if next(module.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in owners]
    try:
        value = outputs.loss([tensor.clone().requires_grad_() for tensor in outputs.values])
    finally:
        for handle in handles:
            handle.remove()
    if ran or not value.requires_grad or not parameters:
        return 0.0
    direct = torch.autograd.grad(value, parameters, allow_unused=True)
    if all(gradient is None for gradient in direct) or not initial > 0:
        return 0.0
    bottom, _ = minimum(outputs.loss, [value.clone() for value in outputs.values], _STEPS)
    return max(0.0, min(1.0, bottom / initial)) if math.isfinite(bottom) else 0.0


def _starts(outputs: Outputs) -> list[list[Tensor]]:
    """Points to search from: the mean output, zeros, and the mean target where targets look like outputs."""
    def rows(value: Tensor, tail: Tail | None, fill: Tensor | None) -> Tensor:
        if tail is None:
            return value.mean(0, keepdim=True) if fill is None else fill.expand(value[:1].shape)
        return torch.zeros((1, *tail.shape[1:]), dtype=value.dtype)

    pairs = outputs.pairs()
    starts = [[rows(value, tail, None) for value, tail in pairs], [rows(value, tail, value.new_zeros(())) for value, tail in pairs]]
    targets: Any = outputs.run.setup.batch.targets
    alike = len(pairs) == 1 and isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == pairs[0][0].shape
    if alike and pairs[0][1] is None:
        starts.insert(0, [targets.mean(0, keepdim=True).to(pairs[0][0].dtype)])
    return starts


def _rowwise(tail: Tail, row: Tensor) -> Tensor:
    value = row
    for function in tail.functions:
        value = function(value)
    return value.reshape((1, *tail.view[1:]))


def _from_both_sides(objective: Objective, shape: torch.Size, dtype: torch.dtype) -> tuple[float, list[Tensor]]:
    """The least value from above and from below zero: a rectifier has no slope on one of the sides."""
    ends = []
    for start in (0.5, -0.5):
        found, free = minimum(objective, [torch.full(shape, start, dtype=dtype)], _STEPS)
        ends.append(pushed(objective, found, free))
    return min(ends, key=lambda end: end[0])
