"""Shipped precision: the gradient as it is computed in training, against a float64 twin of the same call."""

from gradcheck_suite.captures.shipped_precision import ShippedPrecision
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject


def shipped_precision(subject: Subject, budget: Budget, seed: int) -> ShippedPrecision:
    """Compare gradients in the subject's own types, autocast regions included, with those of float64 twins (see the capture).

    Every call is repeated alone, at the inputs and the incoming gradient that it has in training; the twin has the same ones, and the same
    random draws. How far rounding may take the two apart is measured on copies of the twin that round at random.

    Raises:
        NotApplicable: nothing requires a gradient and no input is a floating tensor.
        SubjectError: the subject could not be built, or its forward pass, loss or backward pass raised.
    """
    from gradcheck_suite.probes.directional_derivative.twin import realised
    from gradcheck_suite.probes.shipped_precision.shipped import Shipped

    with realised(subject, seed, native=True) as (setup, _):
        return Shipped(setup, budget, seed).run()
