"""A hand-written backward pass changes nothing that it is given, and repeats bit for bit.

Conditions
----------
A custom ``autograd.Function`` is called.

Why it matters
--------------
The gradient that comes in may be read by others after it: where an output is used twice, all its users share one tensor. What was saved
is read again by a second backward pass, and by whoever else holds it. A backward pass that writes into either is right in a chain and
wrong in a graph, and the test that finds it is one in which something else reads what it spoiled.

Measured
--------
The number of entries of the incoming gradients, of the inputs and of the outputs that differ after a backward pass from what they were,
for each custom Function alone with the arguments of the model's own call; the number of entries in which two backward passes through
one graph differ. Gradients whose shape or dtype is not that of their input are listed.

Error
-----
None: bits are compared.

When violated
-------------
Compute into new tensors: ``grad * a`` in place of ``grad.mul_(a)``. Draw random numbers in the forward pass and save them. Sum a gradient
over the axes that the forward pass broadcast.

Limits
------
PyTorch sums a gradient that is too large and converts one of another dtype without a word; often that is right, so shape and dtype are
shown and not judged. Functions inside a compiled or scripted region are not seen.

Sources
-------
PyTorch documentation, Extending PyTorch ("the inputs of backward must never be modified in place"), and Autograd mechanics.
"""

import math
from collections.abc import Iterator, Sequence

from gradcheck_suite.captures.backward_contract import BackwardContract, Clause
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property

_SAID = {
    "incoming gradient": ("entries of the incoming gradient changed by the backward pass", "others that use the output read what it left"),
    "inputs": ("entries of the inputs changed by the backward pass", "a second backward pass, and whoever holds them, reads what it left"),
    "outputs": ("entries of the outputs changed by the backward pass", "whoever holds them reads what it left"),
    "repetition": ("entries that differ between two backward passes through one graph", "it draws anew, or overwrites what it saved"),
}


def measure(backward_contract: BackwardContract) -> Iterator[Evidence]:
    if not backward_contract.clauses:
        raise NotApplicable("no custom Function could be called alone")
    for clause in backward_contract.clauses:
        if clause.clause in _SAID:
            yield _kept(clause, [c for c in backward_contract.clauses if (c.module, c.function) == (clause.module, clause.function)])


def _kept(clause: Clause, all_of_it: Sequence[Clause]) -> Evidence:
    quantity, meaning = _SAID[clause.clause]
    oddities = "; ".join(f"{c.clause}: {c.detail}" for c in all_of_it if c.detail)
    note = "; ".join(part for part in (f"{clause.count} of {clause.of}; {meaning}" if clause.count else "", oddities) if part)
    error, level = 0.0, None
    if clause.count and clause.intended:
        note, error, level = f"intended, declared: {clause.intended}; not judged", math.inf, Level.INDICATOR
    return Evidence(quantity=quantity, value=float(clause.count), error=error, low=0.0, high=0.0, note=note, level=level,
                    where=Where(module=clause.module, function=clause.function, source=clause.source), exhibits=(_table(all_of_it),))


def _table(clauses: Sequence[Clause]) -> Table:
    rows = tuple((clause.clause, clause.count, clause.of, clause.detail) for clause in clauses)
    return Table(title=f"backward pass of {clauses[0].function}", columns=("clause", "broken", "of", "seen"), rows=rows)


def _net(*layers: Layer, **facts: object) -> Architecture:
    return Architecture(input_shape=(6,), layers=layers).changed(**facts)


_PLAIN = _net(layer("dense", units=8), layer("tanh"), layer("dense", units=3), loss="mse")

PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "backward modifies its input", "in-place backward"),
    holds_for=(
        _PLAIN.changed(defects=(Defect(kind="scaled-backward", module="1", strength=2.0),)),
        _net(layer("dense", units=4), layer("relu"), defects=(Defect(kind="scaled-single-sample", module="0", strength=0.5),)),
    ),
    fails_for=(
        _PLAIN.changed(defects=(Defect(kind="spoiled-upstream", module="1", strength=2.0),)),
        _PLAIN.changed(defects=(Defect(kind="nondeterministic", module="2", strength=0.1),)),
    ),
    domain=None,
)
