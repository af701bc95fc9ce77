"""Backward contract: what hand-written backward passes do beside computing a gradient."""

from gradcheck_suite.captures.backward_contract import BackwardContract
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject


def backward_contract(subject: Subject, budget: Budget, seed: int) -> BackwardContract:
    """Call every custom ``autograd.Function`` alone, with the arguments that the model gives it, and watch two backward passes.

    Raises:
        NotApplicable: no custom Function is called, or nothing requires a gradient.
        SubjectError: the subject could not be built, or its forward pass or loss raised.
    """
    from gradcheck_suite.probes.backward_contract.watching import Watching
    from gradcheck_suite.probes.directional_derivative.twin import realised

    with realised(subject, seed) as (setup, _):
        return Watching(setup, seed).run()
