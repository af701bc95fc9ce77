"""Trainings on one fixed batch: the subject's own set-up, and the same with a single thing changed."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.training import DEALT, LEARNING_RATE, ZEROED, Attempt
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.execution import realise, tensors
from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.standardised import standardised_inputs, standardised_targets
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.training.yardsticks import Constant, Outputs, best_constant
from gradcheck_suite.subject import Batch, Setup, Subject

Change = Callable[[Setup], Setup | None]
EXPLAINED = 0.5
_NOTICEABLE = 0.01
_SHARE = 0.8
_LEAST_STEPS = 20


def _unchanged(setup: Setup) -> Setup | None:
    return setup


@dataclass(frozen=True, slots=True)
class Changed:
    """What a trial changes: its name, the changed set-up (``None`` where there is nothing to change), the factor of the learning
    rate, and the losses it has to beat after a third of the steps."""

    name: str
    make: Change = _unchanged
    factor: float = 1.0
    rival: np.ndarray | None = None


AS_IT_IS = Changed("")


class Allowance:
    """The time that a probe may use, in seconds of the wall clock: its deadline ends it with nothing to show.

    The set-up's own training may use a third of it, and then ends with fewer steps; further trainings are begun while what the first
    one took still fits.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + _SHARE * seconds
        self.own_end = time.monotonic() + seconds / 3.0
        self._began = time.monotonic()
        self.cost = 0.0

    def measured(self) -> None:
        """The first training has just ended."""
        self.cost = time.monotonic() - self._began

    def fits(self, trainings: int = 1) -> bool:
        """Whether so many trainings can still be run."""
        return time.monotonic() + trainings * self.cost < self._end


def trained(run: Experiment, steps: int, constant: Constant, change: Changed = AS_IT_IS, end: float = math.inf) -> Attempt:
    """Train an experiment for some steps; the loss before each and after the last.

    A trial that has a rival ends after a third of the steps where it is no better than that; every training at the time ``end``, but
    not before twenty steps.
    """
    losses: list[float] = []
    norms: list[tuple[float, float]] = []
    error, done = "", 0
    try:
        while done < steps and not (done >= _LEAST_STEPS and time.monotonic() > end):
            losses.append(float(run.gradients()))
            if not change.name:
                norms.append(_norms(run.model))
            if not math.isfinite(losses[-1]) or (done == steps // 3 and _behind(losses, change.rival, constant.value)):
                break
            run.step()
            done += 1
        else:
            with torch.no_grad():
                losses.append(float(run.loss()))
    except SubjectError as failure:
        error = str(failure)
    return Attempt(change=change.name, factor=change.factor, losses=frozen(losses), constant=constant.value, constant_error=constant.error,
                   error=error, weight_norms=frozen([weight for weight, _ in norms]), gradient_norms=frozen([slope for _, slope in norms]))


def _norms(model: nn.Module) -> tuple[float, float]:
    """Euclidean norms of all trainable parameters and of their gradients."""
    trained = [p for p in model.parameters() if p.requires_grad and p.layout == torch.strided]
    gradients = [p.grad for p in trained if p.grad is not None and p.grad.layout == torch.strided]
    weights = torch.nn.utils.get_total_norm([p.detach() for p in trained])
    return float(weights), float(torch.nn.utils.get_total_norm(gradients))


def _behind(losses: list[float], rival: np.ndarray | None, constant: float) -> bool:
    """Whether the last losses are not noticeably lower than a rival's at the same steps."""
    if rival is None or rival.size < len(losses):
        return False
    last = slice(-max(1, len(losses) // 3), None)
    return not np.mean(losses[last]) < np.mean(rival[: len(losses)][last]) - _NOTICEABLE * abs(constant)


def twins(
    subject: Subject, seeds: Sequence[int], steps: int, attempts: Sequence[Attempt], allowance: Allowance
) -> Iterator[tuple[float, float]]:
    """Gains of attempts from the seeds, the first of which were made already, each with its twin's: the same training on inputs that say
    nothing (zeros, or the first sample's tokens for all samples). They end with the first twin that is no worse."""
    for position, seed in enumerate(seeds):
        if not allowance.fits(2):
            return
        own = attempts[position] if position < len(attempts) else attempt(subject, seed, steps)
        twin = _trial(subject, seed, steps, Changed(ZEROED, _zeroed_inputs))
        if twin is None:
            return
        yield own.gain, twin.gain
        if not own.gain > twin.gain:
            return


def dealt(subject: Subject, seeds: Sequence[int], steps: int, allowance: Allowance) -> Iterator[float]:
    """Gains of trainings from the seeds on the same targets, each time dealt to the samples at random."""
    for seed in seeds:
        found = _trial(subject, seed, steps, Changed(DEALT, partial(_dealt_targets, seed))) if allowance.fits() else None
        if found is None:
            return
        yield found.gain


def attempt(subject: Subject, seed: int, steps: int) -> Attempt:
    """The subject's own set-up from another initialisation, against the best constant output for its own batch."""
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        run = Experiment(setup, seed)
        generator = torch.get_rng_state()
        constant = best_constant(Outputs(run))
        torch.set_rng_state(generator)
        return trained(run, steps, constant)


def trials(subject: Subject, seed: int, steps: int, own: Attempt, allowance: Allowance) -> Iterator[Attempt]:
    """The set-up with one thing changed, each from the same initialisation.

    Learning rates go by factors of ten until one explains more than half of the constant's loss more than the set-up itself.
    A larger rate that is no better ends the way up. Where the loss or a gradient is not finite before the first step, no rate
    can help and none is tried. Trials that no longer fit into the time are left out. Where neither batch nor loss is changed, the best
    constant is that of ``own``, which is to be from the same seed.
    """
    constant = Constant(own.constant, own.constant_error)
    if own.losses.size > 2:
        yield from _rates(subject, seed, steps, own, allowance)
    for name, change in CHANGES.items():
        if not allowance.fits():
            return
        found = _trial(subject, seed, steps, Changed(name, change), constant if change is _unchanged else None)
        if found is not None:
            yield found


def _rates(subject: Subject, seed: int, steps: int, own: Attempt, allowance: Allowance) -> Iterator[Attempt]:
    rose = not own.finite or bool((own.losses[1:] > own.losses[0]).any())
    down = [10.0**-power for power in ((1, 2, 3) if rose else (1,))]
    up = [_first_factor(own) * 10.0**power for power in range(3)] if own.finite else []
    constant = Constant(own.constant, own.constant_error)
    for factors in (down, up) if rose else (up, down):
        for factor in factors:
            if not allowance.fits():
                return
            rival = own.losses if factor > 1.0 else None
            found = _trial(subject, seed, steps, Changed(LEARNING_RATE, factor=factor, rival=rival), constant)
            if found is None:
                return
            yield found
            if explains(found, own):
                return
            if factor > 1.0 and not found.reached < own.reached - _NOTICEABLE * abs(own.constant):
                break


def _first_factor(own: Attempt) -> float:
    """The power of ten by which the fall of the loss so far would have to grow to explain the constant's loss; from 10 to 10^6."""
    fall, wanted = float(own.losses[0] - own.reached), float(own.losses[0])
    if not 0.0 < fall < wanted:
        return 10.0
    return float(10.0 ** min(6.0, max(1.0, math.floor(math.log10(EXPLAINED * wanted / fall)))))


def explains(trial: Attempt, own: Attempt) -> bool:
    """Whether the trial explains more than half of the best constant's loss more than the set-up itself."""
    if not math.isfinite(trial.gain):
        return False
    return trial.gain > EXPLAINED and trial.gain - max(own.gain, -1.0) > EXPLAINED


def _trial(subject: Subject, seed: int, steps: int, change: Changed, constant: Constant | None = None) -> Attempt | None:
    """Train a changed set-up, against its own best constant where none is given; ``None`` where there is nothing to change."""
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        changed = change.make(setup)
        if changed is None:
            return None
        run = Experiment(changed, seed)
        if change.name == LEARNING_RATE and not _scaled(run, change.factor):
            return None
        if change.name == "no weight decay" and not _without_decay(run):
            return None
        try:
            constant = constant or best_constant(Outputs(run))
        except SubjectError:
            return None
        return trained(run, steps, constant, change)


def _scaled(run: Experiment, factor: float) -> bool:
    groups = run.optimizer.param_groups if run.optimizer is not None else []
    if not groups or not all(isinstance(group.get("lr"), int | float | torch.Tensor) for group in groups):
        return False
    for group in groups:
        group["lr"] = group["lr"] * factor
    return True


def _without_decay(run: Experiment) -> bool:
    groups = run.optimizer.param_groups if run.optimizer is not None else []
    decays = [group for group in groups if group.get("weight_decay")]
    for group in decays:
        group["weight_decay"] = 0.0
    return bool(decays)


def _zeroed_inputs(setup: Setup) -> Setup | None:
    def zero(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(tensor) if tensor.is_floating_point() else tensor[:1].expand(tensor.shape) if tensor.dim() else tensor

    batch = setup.batch
    return replace(setup, batch=Batch(tuple(mapped(value, zero) for value in batch.args),
                                      {name: mapped(value, zero) for name, value in batch.kwargs.items()}, batch.targets))


def _dealt_targets(seed: int, setup: Setup) -> Setup | None:
    """The targets in another order of samples; ``None`` where they have no common leading axis."""
    lengths = {tensor.shape[0] if tensor.dim() else 0 for tensor in tensors(setup.batch.targets)}
    if len(lengths) != 1 or max(lengths) < 2:
        return None
    order = torch.randperm(max(lengths), generator=torch.Generator().manual_seed(seed))
    return replace(setup, batch=replace(setup.batch, targets=mapped(setup.batch.targets, lambda tensor: tensor[order])))


def _without_dropout(setup: Setup) -> Setup | None:
    layers = [module for module in setup.model.modules() if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0]
    for module in layers:
        module.p = 0.0
    return setup if layers and setup.model.training else None


CHANGES: dict[str, Change] = {
    "standardised inputs": standardised_inputs,
    "standardised targets": standardised_targets,
    "no weight decay": _unchanged,
    "no dropout": _without_dropout,
}
