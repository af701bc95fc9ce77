"""Forward and backward pass leave the arrays that they are given as they are.

Conditions
----------
None.

Why it matters
--------------
A function that writes into its argument changes the caller's data: the next call sees other numbers. A backward pass that
writes into the gradient it is given spoils it for every other branch that receives the same array, as in a residual connection.

Measured
--------
The share of entries of each array that differ, bit for bit, after a call from before it. Every call gets its own copies.

Error
-----
None: entries are counted.

When violated
-------------
Copy before writing: ``out = x.copy()``, or write ``grad = grad_output * mask`` in place of ``grad_output[~mask] = 0``.

Limits
------
A gradient or a parameter that a backward pass overwrites is an indicator, not a requirement: in a plain chain it is harmless,
and some layers update their weights there on purpose. Containers are not watched, only the arrays in them.

Sources
-------
PyTorch documentation, Extending PyTorch: a backward function must not modify its inputs.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.handwritten_derivative import Alteration, HandwrittenDerivative, Part
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def measure(handwritten_derivative: HandwrittenDerivative) -> Iterator[Evidence]:
    for part in handwritten_derivative.parts:
        yield from (_altered(part, alteration) for alteration in part.alterations)
        if not part.alterations:
            yield _evidence(part, 0.0, None, "", None)


def _altered(part: Part, alteration: Alteration) -> Evidence:
    note = f"the {alteration.stage} pass changed {alteration.entries} of {alteration.size} entries of {alteration.argument}"
    level = None if alteration.kind == "argument" else Level.INDICATOR
    parameter = None if alteration.kind == "cotangent" else alteration.argument
    return _evidence(part, alteration.entries / alteration.size, parameter, note, level)


def _evidence(part: Part, share: float, parameter: str | None, note: str, level: Level | None) -> Evidence:
    where = Where(module=part.module, parameter=parameter, function=part.function or None, source=part.source)
    return Evidence(quantity="share of an argument's entries that a call changed", value=share, error=0.0, low=0.0, high=0.0,
                    where=where, note=note, level=level)


PROPERTY = Property(measure=measure, symptoms=("in-place change", "mutated input", "side effect"))
