"""Directional derivative: backprop against finite differences, for every module call alone and for the whole model in place."""

from contextlib import suppress

from gradcheck_suite.captures.directional_derivative import DirectionalDerivative
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.subject import Subject


def directional_derivative(subject: Subject, budget: Budget, seed: int) -> DirectionalDerivative:
    """Compare the gradient with differences, place by place (see ``captures.directional_derivative``).

    The mathematics is checked in float64, on a twin of the subject; where that does not run, with the narrow types that the
    model writes out lifted; where that does not run either, in the subject's own precision. One forward pass records every
    module call; each call without inner calls is then repeated alone, each container with its inner calls replaced by affine
    stubs, and the whole model in place. Nothing of the subject is changed, whatever it does.

    Raises:
        SubjectError: the subject could not be built, or its forward pass, loss or backward pass raised.
        NotApplicable: nothing requires a gradient and no input is a floating tensor.
    """
    from gradcheck_suite.probes.directional_derivative.investigation import Investigation
    from gradcheck_suite.probes.directional_derivative.twin import realised

    for native, lifted in ((False, False), (False, True)):
        with suppress(SubjectError), realised(subject, seed, native) as (setup, converted):
            return Investigation(setup, seed, lifted).run(converted)
    with realised(subject, seed, native=True) as (setup, _):
        return Investigation(setup, seed).run(converted=False, native=True)
