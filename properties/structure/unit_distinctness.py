"""The units of a layer differ from each other after three steps.

Conditions
----------
The subject has an optimiser, three steps were finite, and a parameter has at least two rows.

Why it matters
--------------
Units with the same weights compute the same value and receive the same gradient: they stay the same for ever, and a layer of a
thousand units has the power of one. Constant or all-zero initial weights do this; random ones do not.

Measured
--------
Per parameter with at least two axes, whether all of its rows are equal bit by bit, before the first step and after the third. A
layer that starts with rows of zeros and leaves them (a zero-initialised last layer, whose units have different targets) is healthy; one
that starts with equal rows other than zero and leaves them is an indicator.

Error
-----
None: rows are compared bit by bit.

When violated
-------------
Draw the weights at random: ``nn.init.kaiming_normal_`` (He) in front of a ReLU, ``nn.init.xavier_uniform_`` (Glorot) otherwise.
Zeros belong to biases, and to the last layer of a residual branch.

Limits
------
Only layers whose units are all alike are seen, not two equal units among many.

Sources
-------
Goodfellow, Bengio and Courville, Deep Learning, MIT Press 2016, section 8.4: initial parameters must break the symmetry between
units.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def three_steps(first_steps: FirstSteps) -> str | None:
    """Three finite steps of an optimiser."""
    return first_steps.unfinished()


def measure(first_steps: FirstSteps) -> Iterator[Evidence]:
    for position in first_steps.trained:
        fact = first_steps.parameters[position]
        if len(fact.shape) < 2 or fact.shape[0] < 2:
            continue
        before, after = map(bool, first_steps.identical[:, position])
        constant = before and math.prod(fact.shape[1:]) > 1 and first_steps.weight_norm[0, position] > 0
        alike = before and (after or constant)
        state = f"still are after {first_steps.steps} steps" if after else "differ later only by the weights behind them"
        note = (f"identical units: all {fact.shape[0]} rows are equal bit for bit at the start, and {state}: symmetric, constant initial "
                "weights; draw them at random (He or Glorot initialisation)") if alike else ""
        level = Level.INDICATOR if alike and not after else None
        yield Evidence(quantity="rows that differ", value=0.0 if alike else 1.0, error=0.0, low=1.0, high=1.0,
                       where=Where(module=fact.module, parameter=fact.name), note=note, level=level)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)
_ALIKE = tuple(Defect(kind="constant-weights", module=module) for module in ("0", "2"))
_ZERO = tuple(Defect(kind="zero-init", module=module) for module in ("0", "2"))

PROPERTY = Property(
    measure=measure,
    conditions=(three_steps,),
    symptoms=("identical units", "symmetry not broken", "constant initial weights"),
    remedies=("he-initialization", "glorot-initialization"),
    holds_for=(_NET, _NET.changed(initialization="he-normal"), _NET.changed(defects=(Defect(kind="zero-init", module="2"),))),
    fails_for=(_NET.changed(defects=_ALIKE, initialization="he-normal"), _NET.changed(defects=_ZERO)),
)
