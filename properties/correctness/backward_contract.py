"""A hand-written backward pass changes nothing that it is given, repeats bit for bit, and returns gradients of its inputs' shape and dtype.

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
one graph differ; the number of gradients whose shape or dtype is not that of their input.

Error
-----
None: bits are compared.

When violated
-------------
Compute into new tensors: ``grad * a`` in place of ``grad.mul_(a)``. Draw random numbers in the forward pass and save them. Sum a gradient
over the axes that the forward pass broadcast.

Limits
------
PyTorch sums a gradient that is too large and converts one of another dtype without a word: often that is right, so shape and dtype are
indicators. Functions inside a compiled or scripted region are not seen.

Sources
-------
PyTorch documentation, Extending PyTorch ("the inputs of backward must never be modified in place"), and Autograd mechanics.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.backward_contract import BackwardContract, Clause
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_SAID = {
    "incoming gradient": ("entries of the incoming gradient changed by the backward pass", "others that use the output read what it left"),
    "inputs": ("entries of the inputs changed by the backward pass", "a second backward pass, and whoever holds them, reads what it left"),
    "outputs": ("entries of the outputs changed by the backward pass", "whoever holds them reads what it left"),
    "repetition": ("entries that differ between two backward passes through one graph", "it draws anew, or overwrites what it saved"),
    "shape": ("gradients of another shape than their input", "PyTorch sums what is too large"),
    "dtype": ("gradients of another dtype than their input", "PyTorch converts them, and digits are lost"),
}
_HARMLESS = ("shape", "dtype")


def measure(backward_contract: BackwardContract) -> Iterator[Evidence]:
    if not backward_contract.clauses:
        raise NotApplicable("no custom Function could be called alone")
    yield from map(_kept, backward_contract.clauses)


def _kept(clause: Clause) -> Evidence:
    quantity, meaning = _SAID[clause.clause]
    note = f"{clause.count} of {clause.of}; {meaning}" if clause.count else ""
    note += f": {clause.detail}" if clause.detail else ""
    error, level = 0.0, Level.INDICATOR if clause.clause in _HARMLESS else None
    if clause.count and clause.intended:
        note, error, level = f"intended, declared: {clause.intended}; not judged", float("inf"), Level.INDICATOR
    return Evidence(quantity=quantity, value=float(clause.count), error=error, low=0.0, high=0.0, note=note, level=level,
                    where=Where(module=clause.module, function=clause.function, source=clause.source))


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
