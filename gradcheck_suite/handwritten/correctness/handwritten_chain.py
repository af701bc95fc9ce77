"""The layers' backward passes, one after another from the loss, give the derivative of the whole network.

Conditions
----------
Every layer and the loss, each alone, agrees with its derivative: else the chain inherits a fault that is already named.

Why it matters
--------------
Layers that are right alone can be wrong together: the same object used twice overwrites what it kept for its backward pass, a
parameter that two layers share needs the sum of both gradients, and a pass that works in place spoils what its neighbour needs.

Measured
--------
As for each layer alone (handwritten-agreement), with all layers and the loss as one function of the input and every
parameter; nothing is copied between the layers.

Error
-----
As for each layer alone.

When violated
-------------
The parameters named are those whose gradient is wrong in the network. If they are those up to one layer, look at that layer: is
its object used twice, does it return a view of what it keeps, does it write into what it is given?

Limits
------
The order of the layers and the way from each to the next are those of the list that is given, not those of the user's training
loop. Parameters that share memory only in part are taken for different ones.

Sources
-------
Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, Nature 323 (1986). Ridders 1982 and Moré and
Wild 2011 for the differences.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_chain import HandwrittenChain
from gradcheck_suite.captures.handwritten_derivative import HandwrittenDerivative
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property
from gradcheck_suite.handwritten.evidence import part_evidence


def every_part_agrees(handwritten_derivative: HandwrittenDerivative) -> str | None:
    """No layer and no loss disagrees with its derivative when it is alone."""
    wrong = [part.module or part.function for part in handwritten_derivative.parts
             if any(place.settled(part.resolution)[0].startswith("disagrees") for place in (part.joint, *part.places))]
    return f"alone, {' and '.join(wrong)} already disagree{'s' * (len(wrong) == 1)} with the derivative" if wrong else None


def measure(handwritten_chain: HandwrittenChain) -> Iterator[Evidence]:
    yield from part_evidence(handwritten_chain.part)


PROPERTY = Property(measure=measure, conditions=(every_part_agrees,), symptoms=("wrong gradient", "layer used twice", "shared parameter"))
