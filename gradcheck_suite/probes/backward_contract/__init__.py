"""Backward contract: what hand-written backward passes do beside computing a gradient."""

from contextlib import suppress

from gradcheck_suite.captures.backward_contract import BackwardContract
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.subject import Subject


def backward_contract(subject: Subject, budget: Budget, seed: int) -> BackwardContract:
    """Call every custom ``autograd.Function`` alone, with the arguments that the model gives it, and watch two backward passes.

    In float64, or in the subject's own precision where it does not run in float64: bits are compared, not numbers.

    Raises:
        NotApplicable: no custom Function is called, or nothing requires a gradient.
        SubjectError: the subject could not be built, or its forward pass or loss raised.
    """
    from gradcheck_suite.probes.backward_contract.watching import Watching
    from gradcheck_suite.probes.directional_derivative.twin import realised

    with suppress(SubjectError), realised(subject, seed) as (setup, _):
        return Watching(setup, seed).run()
    with realised(subject, seed, native=True) as (setup, _):
        return Watching(setup, seed).run()
