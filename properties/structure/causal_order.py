"""Where the target of a position is the input of a later one, earlier outputs do not depend on that input.

Conditions
----------
The targets are the inputs moved by one, two or three positions, entry for entry: the task is to predict what comes next.

Why it matters
--------------
A model that sees the token it is to predict copies it. Training loss falls to almost nothing and the model is useless: a missing or
shifted causal mask, a bidirectional layer, a convolution with symmetric padding, a mean over all positions.

Measured
--------
The input of the last position is replaced and the change of the outputs of all earlier positions is measured, in evaluation mode. The
first module whose earlier outputs change while its earlier inputs do not is named.

Error
-----
The change between two runs on the same batch, and 64 units in the last place of the output.

When violated
-------------
Give the attention a causal mask (``is_causal=True``, or an upper triangle of minus infinity that starts above the diagonal), pad
convolutions on the left only, and make recurrent layers unidirectional.

Limits
------
The order of time is read from the data; where targets are not later inputs, nothing is said.

Sources
-------
Vaswani et al., Attention is all you need, 2017, section 3.2.3: leftward information flow must be prevented. Identity: the derivative
of the loss at t with respect to inputs after t is zero.
"""

from gradcheck_suite.captures.batch_composition import BatchComposition
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def next_position(batch_composition: BatchComposition) -> str | None:
    """The targets are inputs of later positions."""
    return None if batch_composition.foresight is not None else "the targets are not the inputs of later positions"


def measure(batch_composition: BatchComposition) -> Evidence:
    seen = batch_composition.foresight
    assert seen is not None
    scale = seen.scale or 1.0
    # 64 roundings: whatever the later inputs are, the earlier positions go through the same operations
    error = max(seen.noise, 64 * seen.eps * seen.scale) / scale
    change = seen.change / scale
    note = (f"future leakage: earlier outputs change by {seen.change:.3g} of {seen.scale:.3g} when the last input, which is the target of "
            f"position {batch_composition.positions - 1 - batch_composition.shift}, is replaced; look-ahead in "
            f"{seen.class_name or 'the model'}: the causal mask is missing or shifted") if change > error else ""
    return Evidence(quantity="change of earlier outputs when the last input is replaced, relative", value=change, error=error,
                    low=0.0, high=0.0, resolution=2 * error, where=Where(module=seen.module), note=note)


_TOKENS = Architecture(input_shape=(8,), vocabulary=6, batch=4, loss="cross-entropy",
                       defects=(Defect(kind="next-targets", module=""),),
                       layers=(layer("embedding", units=8), layer("encoder", heads=2, hidden=16, causal=True), layer("dense", units=6)))

PROPERTY = Property(
    measure=measure,
    conditions=(next_position,),
    symptoms=("future leakage", "look-ahead", "causal mask missing", "target leaks into the input"),
    holds_for=(_TOKENS,),
    fails_for=(_TOKENS.changed(defects=(*_TOKENS.defects, Defect(kind="future-leak", module="1"))),
               _TOKENS.changed(layers=(layer("embedding", units=8), layer("encoder", heads=2, hidden=16), layer("dense", units=6)))),
)
