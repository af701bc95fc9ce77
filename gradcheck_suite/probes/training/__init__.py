"""Training: a short training on one fixed batch, and what it is compared with."""

import math
from dataclasses import replace

import numpy as np
import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.training import BEATEN, HORIZON, PAIRS, Attempt, Breakdown, Training
from gradcheck_suite.captures.unit_activity import LayerActivity
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import GradcheckError, SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import realise
from gradcheck_suite.probes.experiment import Experiment, is_finite, require_training
from gradcheck_suite.probes.operation_watch import watched as watched_operations
from gradcheck_suite.probes.standardised import standardised_inputs
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.training.attempts import EXPLAINED, Allowance, attempt, dealt, explains, trained, trials, twins
from gradcheck_suite.probes.training.yardsticks import Constant, Outputs, best_constant, direct_share, reach
from gradcheck_suite.probes.unit_activity import watched as watched_units
from gradcheck_suite.subject import Subject

ATTEMPTS = 3
# Trainings that must still fit into the time for further initialisations to be run beside the trials.
_DEAR = 6


def training(subject: Subject, budget: Budget, seed: int) -> Training:
    """The short training and its yardsticks (see ``captures.training.Training``).

    One initialisation where it explains more than half of the best constant's loss at once; else three, and the trials.
    A subject with a remedy applied has no trials. A budget's short training is carried on to a hundred steps where it leaves a doubt.
    A model so dear that this would not end before the probe's deadline has fewer steps, initialisations and trials.

    Raises:
        NotApplicable: the subject has no loss, no optimiser, or nothing to train.
        SubjectError: the subject failed.
    """
    allowance = Allowance(budget.seconds)
    first = _first(subject, budget, seed, allowance.own_end)
    allowance.measured()
    if first.own.gain > EXPLAINED or math.isnan(first.own.gain):
        return first
    seeds = [seed, *(derive(seed, "attempt", number) for number in range(1, PAIRS))]
    others = seeds[1:ATTEMPTS] if allowance.fits(_DEAR) else []
    made = [first.own, *(attempt(subject, other, first.steps) for other in others)]
    seen = replace(first, attempts=tuple(made))
    if first.own.gain >= BEATEN and seen.failing:
        # The first began beyond the constant by luck: what fails is looked at where it fails.
        worst = min(range(len(made)), key=lambda position: made[position].gain)
        seeds.insert(0, seeds.pop(worst))
        made.insert(0, made.pop(worst))
        seen = replace(_first(subject, budget, seeds[0], allowance.own_end), attempts=tuple(made))
    changed = () if subject.remedy else tuple(trials(subject, seeds[0], seen.steps, seen.own, allowance))
    seen = replace(seen, trials=changed)
    doubtful = 0.0 < seen.gain < BEATEN and not any(explains(trial, seen.own) for trial in changed)
    if not doubtful:
        return seen
    seen = replace(seen, twins=tuple(twins(subject, seeds, seen.steps, made, allowance)))
    return replace(seen, dealt=tuple(dealt(subject, seeds, seen.steps, allowance))) if seen.above_floor() else seen


def _first(subject: Subject, budget: Budget, seed: int, end: float) -> Training:
    """The capture with one attempt and no trials."""
    setup = realise(subject, seed)
    require_training(setup)
    steps = min(budget.training_steps, setup.steps or budget.training_steps)
    with preserved(setup.model), torch.enable_grad():
        run = Experiment(setup, seed)
        generator = torch.get_rng_state()
        outputs = Outputs(run)
        constant = best_constant(outputs)
        within = reach(outputs, constant.value)
        initial = float(outputs.loss(outputs.values).detach())
        direct = direct_share(run, outputs, initial)
        start = _standardised_start(run)
        before = _activity(run)
        torch.set_rng_state(generator)
        own = trained(run, steps, constant, end=end)
        steps = own.losses.size - 1 if own.finite else steps
        if own.finite and not own.gain > EXPLAINED and steps == budget.training_steps < HORIZON:
            own, steps = _lengthened(run, own, constant, min(HORIZON, setup.steps or HORIZON))
        breakdown = None if own.finite or own.error else _breakdown(run, own.losses.size - 1)
        activity = _activity(run) if own.finite else ()
    group = run.optimizer.param_groups[0] if run.optimizer is not None else {}
    return Training(
        attempts=(own,), trials=(), steps=steps, intended=setup.steps or 0, samples=outputs.samples, reach=within, direct=direct,
        standardised_start=start, unbounded=constant.unbounded, breakdown=breakdown, activity=activity, activity_at_start=before,
        optimizer=type(run.optimizer).__name__, learning_rate=float(group.get("lr", math.nan)),
    )


def _lengthened(run: Experiment, own: Attempt, constant: Constant, steps: int) -> tuple[Attempt, int]:
    """An attempt that leaves a doubt, carried on to so many steps."""
    done = own.losses.size - 1
    if steps <= done:
        return own, done
    more = trained(run, steps - done, constant)
    return replace(
        more, losses=frozen(np.concatenate([own.losses[:-1], more.losses])),
        weight_norms=frozen(np.concatenate([own.weight_norms, more.weight_norms])),
        gradient_norms=frozen(np.concatenate([own.gradient_norms, more.gradient_norms])),
    ), steps


def _standardised_start(run: Experiment) -> float:
    """The first loss on standardised inputs; NaN where no numeric inputs vary, or the model does not take them."""
    changed = standardised_inputs(run.setup)
    if changed is None:
        return math.nan
    try:
        with torch.no_grad():
            return float(run.loss(run.output(changed.batch)))
    except SubjectError:
        return math.nan


def _breakdown(run: Experiment, step: int) -> Breakdown:
    """Run forward and backward once more where the loss stopped being finite, operation by operation."""
    broken = not is_finite(*(p.detach() for p in run.model.parameters()))
    if broken:
        return Breakdown(step=step, parameters=True)
    try:
        seen = watched_operations(run).producer
    except GradcheckError:
        seen = None
    if seen is None:
        return Breakdown(step=step, parameters=False)
    return Breakdown(step=step, parameters=False, operation=seen.name, phase=seen.phase, module=seen.module, source=seen.source,
                     largest=seen.largest, smallest=seen.smallest)


def _activity(run: Experiment) -> tuple[LayerActivity, ...]:
    layers, _ = watched_units(run.model, run.output)
    return layers
