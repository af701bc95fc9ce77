"""Configuration sweep: the gradient of every user-written module away from the one configuration that the model shows."""

from gradcheck_suite.captures.configuration_sweep import ConfigurationSweep
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject


def configuration_sweep(subject: Subject, budget: Budget, seed: int) -> ConfigurationSweep:
    """Vary every call of a module that is not PyTorch's own, one change at a time, then two, and compare its gradient each time.

    Mode, settings, shapes, zeros, ties, values, which tensors require a gradient, what follows the outputs, how the incoming gradient
    lies in memory. In float64, on a twin of the subject; whatever a change does to the module is undone.

    Raises:
        NotApplicable: the budget allows no sweep, no module has code of its own, or nothing can be compared.
        SubjectError: the subject could not be built, or its forward pass or loss raised.
    """
    from gradcheck_suite.core.errors import NotApplicable
    from gradcheck_suite.probes.configuration_sweep.sweep import Sweep
    from gradcheck_suite.probes.directional_derivative.twin import realised_in_float64

    if not budget.sweep_calls:
        raise NotApplicable(f"the budget {budget.name!r} allows no sweep over configurations")
    with realised_in_float64(subject, seed) as setup:
        return Sweep(setup, budget, seed).run()
