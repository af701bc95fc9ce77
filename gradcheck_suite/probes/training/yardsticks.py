"""Yardsticks from the subject's own loss: the best constant output, and the least loss within reach of the output's range."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch

from gradcheck_suite.captures.training import BEATEN, Reach
from gradcheck_suite.probes.execution import floating, hookable, tensors
from gradcheck_suite.probes.experiment import Experiment, samples_in
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.tail import Makers, Tail, tail_of

Tensor = torch.Tensor
Objective = Callable[[list[torch.Tensor]], torch.Tensor]
_STEPS = 60
_AGAIN = 20
# So large that a squared thousandfold of it is finite in float32.
_LARGEST = 1e14
# A best constant's loss below this is zero: nothing is told from it.
_LEAST = 1e-30


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
    bottom = min(best, _pushed(loss, again, free)[0])
    if _falls_forever(loss, free):
        return Constant(math.nan, math.nan, unbounded=_faulty(outputs, loss))
    return Constant(bottom, best - min(best, again)) if _improvable(outputs, bottom, free) else Constant(math.nan, math.nan)


def _improvable(outputs: Outputs, constant: float, rows: list[Tensor]) -> bool:
    """Whether outputs that depend on the sample can explain as much of the best constant's loss as counts as something learnt.

    They are looked for within the range of the functions that end the model and beyond it (a range that excludes the targets is a fault
    of the model), from the best constant and from random outputs around it: a loss may have no slope at one of them. The search
    has absolute tolerances, so that the loss is searched as it is and in units of the constant's.
    """
    size = abs(constant)
    if size < _LEAST:
        return False
    generator = torch.Generator().manual_seed(0)
    ends = [[tail for _, tail in outputs.pairs()]]
    if any(ends[0]):
        ends.append([None for _ in ends[0]])
    for tails, unit, scale in product(ends, (1.0, size), (0.0, 1.0, 10.0, 0.1)):
        centres = [_rowwise(made, row).detach() if made is not None and tail is None else row.detach()
                   for (_, made), tail, row in zip(outputs.pairs(), tails, rows, strict=True)]

        def loss(free: list[Tensor], tails: list[Tail | None] = tails, unit: float = unit, centres: list[Tensor] = centres) -> Tensor:
            made = [centre + max(1.0, float(centre.abs().max())) * value for centre, value in zip(centres, free, strict=True)]
            return outputs.moved([value if tail is None else tail.apply(value) for tail, value in zip(tails, made, strict=True)]) / unit

        start = [scale * torch.randn(value.shape if tail is None else tail.shape, generator=generator).to(value.device, value.dtype)
                 for (value, _), tail in zip(outputs.pairs(), tails, strict=True)]
        if minimum(loss, start, _AGAIN)[0] < (constant - BEATEN * size) / unit:
            return True
    return False


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
    return not _falls_forever(lambda rows: -loss(rows), free)


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
        bottoms.append(math.inf if dropped and _falls_forever(objective, free) else found)
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


def minimum(objective: Objective, start: list[Tensor], steps: int) -> tuple[float, list[Tensor]]:
    """The least finite value that L-BFGS with a strong Wolfe line search finds, and where; infinity where the objective raises."""
    free = [value.detach().clone().requires_grad_() for value in start]
    best: tuple[float, list[Tensor]] = (math.inf, [value.detach() for value in start])

    def closure() -> Tensor:
        nonlocal best
        search.zero_grad()
        value = objective(free)
        number = float(value.detach())
        if math.isfinite(number) and number < best[0]:
            best = number, [value.detach().clone() for value in free]
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    search = torch.optim.LBFGS(free, lr=1.0, max_iter=steps, line_search_fn="strong_wolfe")
    try:
        search.step(closure)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, IndexError, ArithmeticError, TypeError):
        return best
    return best


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
        ends.append(_pushed(objective, found, free))
    return min(ends, key=lambda end: end[0])


def _pushed(objective: Objective, found: float, free: list[Tensor]) -> tuple[float, list[Tensor]]:
    """Further along the same direction: a minimum at infinity (a sigmoid at 1) is approached by scaling."""
    for factor in (10.0, 100.0, 1000.0):
        with torch.no_grad():
            try:
                value = float(objective([factor * value for value in free]))
            except (RuntimeError, ValueError):
                return found, free
        if math.isfinite(value) and value < found:
            found = value
    return found, free


def _falls_forever(objective: Objective, free: list[Tensor]) -> bool:
    """Whether the objective keeps falling as much with every factor of ten along the direction found, or more."""
    size = max((float(value.abs().max()) for value in free if value.numel()), default=0.0)
    if size > _LARGEST:
        free = [value * (_LARGEST / size) for value in free]
    values = []
    with torch.no_grad():
        for factor in (1e2, 1e3, 1e4, 1e5):
            try:
                values.append(float(objective([factor * value for value in free])))
            except (RuntimeError, ValueError):
                return True
    if any(math.isnan(value) or value == math.inf for value in values):
        return any(value == -math.inf for value in values)
    falls = [before - after for before, after in pairwise(values)]
    return -math.inf in values or (min(falls) > 0 and falls[-1] > 0.5 * falls[0])
