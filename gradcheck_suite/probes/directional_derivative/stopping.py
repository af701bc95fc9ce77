"""Stopped gradients: whether the stops that a model's code writes out explain a disagreement, and what they starve."""

from contextlib import suppress

import torch

from gradcheck_suite.probes.directional_derivative.comparison import AGREES, Look
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination, examine
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, PARAMETER, Experiment, linearize

UNEXPLAINED, INSIDE, OBJECTIVE = "", "inside", "objective"


def explained(experiment: Experiment, found: Examination, draws: Draws, look: Look) -> str:
    """Whether backprop agrees once nothing is stopped: ``""`` where it does not, else what the stopped gradients belong to.

    ``objective``: a whole argument or module output, in code that gives nothing but single numbers, such as a loss with a target that is
    held constant, or that agrees but for such a target, which it hands out as an output of its own; ``inside``: anything else.
    """
    if not found.outcome.seen.stopped:
        return UNEXPLAINED
    experiment.unstopped = True
    try:
        with suppress(*FAILURES):
            if examine(experiment, draws, look).status == AGREES:
                linear, seen = found.linear, found.outcome.seen
                held = all(value.numel() == 1 for value in linear.base) or not set(linear.constant).isdisjoint(seen.returned)
                return OBJECTIVE if held and not seen.partly else INSIDE
    finally:
        experiment.unstopped = False
    return UNEXPLAINED


def starved(whole: Experiment, draws: Draws) -> list[str]:
    """Parameters that get no gradient at all, and would get one if nothing were stopped."""
    usual = linearize(whole, draws)
    whole.unstopped = True
    try:
        with suppress(*FAILURES):
            free = linearize(whole, draws)
            rows = zip(whole.names(), whole.roles, usual.gradients, free.gradients, strict=True)
            return [name for name, role, before, after in rows if role == PARAMETER and _nothing(before) and not _nothing(after)]
    finally:
        whole.unstopped = False
    return []


def _nothing(gradient: torch.Tensor | None) -> bool:
    return gradient is None or not bool(gradient.any())
