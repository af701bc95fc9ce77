"""The same call gives the same values again.

Conditions
----------
None.

Why it matters
--------------
A function that draws random numbers, or keeps state between calls, has no derivative to compare with unless its draws are
replayed; and a failure of it cannot be reproduced.

Measured
--------
The largest difference between two calls with the same arguments, as a share of the largest value: with generators of random
numbers and the state of the objects put back before the second call, and without.

Error
-----
Sums may be added up in another order when memory is aligned otherwise: differences up to the unit roundoff times the number of
entries are allowed (at least 64).

When violated
-------------
If only the call without replay differs, it is an indicator: the gradient was compared with draws replayed, as for dropout. If
both differ, look for a source of chance that cannot be put back: time, files, another thread, ``os.urandom``.

Limits
------
Generators that live in global variables of the user's modules are not put back, except numpy's and Python's own.

Sources
-------
Higham, Accuracy and Stability of Numerical Algorithms, SIAM 2002, section 4.2 (error of a sum in any order).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_derivative import HandwrittenDerivative, Part, Repetition
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def measure(handwritten_derivative: HandwrittenDerivative) -> Iterator[Evidence]:
    for part in handwritten_derivative.parts:
        yield from _evidence(part)


def _evidence(part: Part) -> Iterator[Evidence]:
    for repetition in part.repetitions:
        allowed = part.roundoff * max(64, repetition.entries)
        random = repetition.plain > allowed >= repetition.replayed
        yield Evidence(
            quantity="difference between two calls with the same arguments", value=repetition.plain if random else repetition.replayed,
            error=0.0, low=0.0, high=allowed, where=Where(module=part.module, function=part.function or None, source=part.source),
            note=_note(repetition, random, allowed), level=Level.INDICATOR if random else None)
        if repetition.plain > allowed:
            return


def _note(repetition: Repetition, random: bool, allowed: float) -> str:
    if random:
        return f"the {repetition.stage} pass draws random numbers or keeps state; both were replayed for the comparison of gradients"
    return f"the {repetition.stage} pass gives other values every time, even replayed" if repetition.replayed > allowed else ""


PROPERTY = Property(measure=measure, symptoms=("not deterministic", "random", "flaky"))
