"""Target pairing: the loss of random outputs when the targets change places."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.target_pairing import TargetPairing
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, realise, tensors
from gradcheck_suite.probes.experiment import Experiment, require_loss
from gradcheck_suite.probes.nested import mapped, replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.training.yardsticks import Outputs
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
PERMUTATIONS = 3


def target_pairing(subject: Subject, budget: Budget, seed: int) -> TargetPairing:
    """The loss against permutations (see ``captures.target_pairing.TargetPairing``).

    Raises:
        NotApplicable: the subject has no loss.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    require_loss(setup)
    with preserved(setup.model), torch.enable_grad():
        outputs = Outputs(Experiment(setup, seed))
    targets = tensors(setup.batch.targets)
    samples = outputs.samples if any(t.dim() and t.shape[0] == outputs.samples for t in targets) else 0
    generator = torch.Generator().manual_seed(derive(seed, "outputs"))
    scaled = [_drawn(value, index, outputs, targets, generator) for index, value in enumerate(outputs.values)]
    plain = [_drawn(value, index, outputs, [], generator) for index, value in enumerate(outputs.values)]
    orders = [torch.randperm(samples, generator=generator) for _ in range(PERMUTATIONS)] if samples > 1 else []
    seen = max((_losses(setup, outputs, drawn, orders) for drawn in (scaled, plain)), key=_Losses.spread)
    given = tensors((setup.batch.args, dict(setup.batch.kwargs)))
    return TargetPairing(
        samples=samples, loss=seen.loss, permuted=frozen(seen.permuted), altered=seen.altered, eps=seen.eps,
        output_shape=tuple(scaled[0].shape) if scaled else (), target_shape=tuple(targets[0].shape) if targets else (),
        targets_equal=samples > 1 and _equal(targets, samples), inputs_equal=outputs.samples > 1 and _equal(given, outputs.samples),
        has_targets=bool(targets), target_mean=_mean(targets), target_scale=_scale(targets), input_scale=_scale(given),
        crest=_crest(setup, outputs, targets, generator),
    )


@dataclass(frozen=True, slots=True)
class _Losses:
    """The loss of some outputs with the targets in their order, in other orders, and of other values; and its resolution."""

    loss: float
    permuted: list[float]
    altered: float
    eps: float

    def spread(self) -> float:
        """Largest change under a permutation, relative to the loss; -1 where one is not finite."""
        if not all(map(math.isfinite, (self.loss, *self.permuted))):
            return -1.0
        return max((abs(value - self.loss) for value in self.permuted), default=0.0) / (abs(self.loss) or 1.0)


def _crest(setup: Setup, outputs: Outputs, targets: list[Tensor], generator: torch.Generator) -> bool:
    """Whether the loss falls to either side of outputs equal to the targets: one that is convex in the outputs cannot."""
    if len(targets) != 1 or len(outputs.values) != 1 or not targets[0].is_floating_point() or targets[0].numel() < 2:
        return False
    centre = targets[0].detach().double()
    if centre.shape != outputs.values[0].shape or not float(centre.std()) > 0:
        return False

    def loss(output: Tensor) -> float:
        assert setup.loss is not None
        with failures("loss"), torch.enable_grad():
            given = mapped(setup.batch.targets, _wide)
            return float(setup.loss(replaced(outputs.nested, [output]), given).detach())

    try:
        top = loss(centre)
        for _ in range(PERMUTATIONS):
            step = 0.1 * centre.std() * torch.randn(centre.shape, generator=generator, dtype=torch.float64).to(centre.device)
            # float32 is the least that a loss may compute in
            if not max(loss(centre + step), loss(centre - step)) < top - 1e3 * torch.finfo(torch.float32).eps * abs(top):
                return False
    except SubjectError:
        return False
    return math.isfinite(top)


def _losses(setup: Setup, outputs: Outputs, drawn: list[Tensor], orders: list[Tensor]) -> _Losses:
    wide = [value.double() for value in drawn]

    def loss(change: Callable[[Tensor], Tensor], double: bool = True) -> float:
        assert setup.loss is not None
        given = mapped(setup.batch.targets, lambda tensor: _wide(change(tensor)) if double else change(tensor))
        with failures("loss"), torch.enable_grad():  # a loss may differentiate
            return float(setup.loss(replaced(outputs.nested, wide if double else drawn), given).detach())

    try:
        reference, eps = loss(lambda tensor: tensor), torch.finfo(torch.float32).eps
    except SubjectError:
        loss = partial(loss, double=False)
        reference, eps = loss(lambda tensor: tensor), max((torch.finfo(value.dtype).eps for value in drawn), default=0.0)
    permuted = [loss(partial(_reordered, order)) for order in orders]
    return _Losses(reference, permuted, loss(_altered) if orders else math.nan, eps)


def _drawn(value: Tensor, index: int, outputs: Outputs, targets: list[Tensor], generator: torch.Generator) -> Tensor:
    """Random outputs in the range of the model's last activation, else with the targets' mean and spread where they are numbers."""
    tail = outputs.tails[index]
    draw = torch.randn(tail.shape if tail is not None else value.shape, generator=generator, dtype=torch.float64)
    if tail is not None:
        return tail.apply(draw.to(value.device, value.dtype)).detach()
    numbers = [t for t in targets if t.is_floating_point() and t.numel() > 1]
    if len(numbers) == 1:
        draw = numbers[0].double().mean().cpu() + max(float(numbers[0].double().std()), 1e-12) * draw
    return draw.to(value.device, value.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _reordered(order: Tensor, tensor: Tensor) -> Tensor:
    return tensor[order] if tensor.dim() and tensor.shape[0] == len(order) else tensor


def _altered(tensor: Tensor) -> Tensor:
    """Targets of other values: the first sample's for all."""
    return tensor[:1].expand(tensor.shape) if tensor.dim() else tensor


def _equal(values: list[Tensor], samples: int) -> bool:
    rows = [t for t in values if t.dim() and t.shape[0] == samples]
    return bool(rows) and all(bool((t == t[:1]).all()) for t in rows)


def _numbers(values: list[Tensor]) -> list[Tensor]:
    return [t.detach().double() for t in values if t.is_floating_point() and t.numel()]


def _mean(values: list[Tensor]) -> float:
    found = _numbers(values)
    return float(torch.cat([t.flatten() for t in found]).mean()) if found else math.nan


def _scale(values: list[Tensor]) -> float:
    found = _numbers(values)
    return float(torch.cat([t.flatten() for t in found]).square().mean().sqrt()) if found else math.nan
