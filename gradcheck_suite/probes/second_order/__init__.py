"""Second order: the gradient of the gradient, by the same method as the gradient itself."""

from gradcheck_suite.captures.second_order import SecondOrder
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.subject import Subject


def second_order(subject: Subject, budget: Budget, seed: int) -> SecondOrder:
    """Compare the derivative of the gradient of every module call with differences of gradients.

    At the standard budget, where a custom ``autograd.Function`` takes part, also at zeros, ties and in the other mode; where the budget
    says so, of everything. A Function that is marked as differentiable once promises nothing and is passed over.

    Raises:
        NotApplicable: nothing to check: no custom Function, or no gradient.
        SubjectError: the subject could not be built, or its forward pass or loss raised.
    """
    from gradcheck_suite.probes.directional_derivative.twin import realised_in_float64
    from gradcheck_suite.probes.second_order.survey import Survey

    with realised_in_float64(subject, seed) as setup:
        return Survey(setup, budget, seed).run()
