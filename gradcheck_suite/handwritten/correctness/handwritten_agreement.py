"""The gradient written by hand is the derivative of the function, with respect to every argument and parameter.

Conditions
----------
None beyond an argument of finite floating-point numbers. Where the function has a kink, every slope between its two one-sided
derivatives is right.

Why it matters
--------------
A gradient that is a little wrong still trains, only worse, and nothing in the loss curve says so. A forgotten activation
derivative, a transposed product, a sum where a mean is due: each leaves the code running.

Measured
--------
The distance between <gradient by hand, v> and the derivative along v by differences, as a share of the size of such a derivative,
for random directions v over one argument or parameter at a time. An output that is not one number is contracted with a random
cotangent first, which the backward pass is given.

Error
-----
Central differences over nine steps, extrapolated to step 0; the estimate covers truncation and the measured noise of one
evaluation. Four times the estimate is the bound: on some thousand derivatives of smooth and kinked networks the error never
exceeded 0.64 of the estimate. Eight roundings per entry of the gradient by hand are added. Must resolve 1e-4 in double precision
and 0.05 in less; what is noisier is inconclusive.

When violated
-------------
The place is the argument or parameter, the entry is the worst one found, and the pattern says how the two differ. Look there at
the backward pass: the pattern "m times" with m samples is a missing mean, "transposed" a product in the wrong order, "is zero" a
gradient that was never assigned.

Limits
------
One point is checked. A disagreement at that point which two of three points beside it do not share is reported as an indicator:
the function has a formula of its own there, such as the slope of abs at 0. A derivative below about 1e-12 of the function's value
cannot be seen.

Sources
-------
Ridders, Accurate computation of F'(x) and F'(x)F''(x), Advances in Engineering Software 4 (1982). Moré and Wild, Estimating
computational noise, SIAM J. Sci. Comput. 33 (2011).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_derivative import HandwrittenDerivative
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property
from gradcheck_suite.handwritten.evidence import part_evidence


def measure(handwritten_derivative: HandwrittenDerivative) -> Iterator[Evidence]:
    for part in handwritten_derivative.parts:
        yield from part_evidence(part)


PROPERTY = Property(measure=measure, symptoms=("wrong gradient", "gradient mismatch", "backprop bug"))
