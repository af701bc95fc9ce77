"""Steps of the optimiser are not lost to rounding: most entries with a gradient change.

Conditions
----------
The subject has an optimiser, and a step was finite in which some gradient was not zero.

Why it matters
--------------
A step smaller than half the distance to the next number leaves a weight as it was, bit for bit. In bfloat16, with eight bits of
mantissa, that is every step below 0.4 % of the weight: training stands still, and no loss of NaN tells of it.

Measured
--------
Of the entries whose gradient is not zero, the share that a step leaves unchanged, over the first three steps and all parameters.

Error
-----
None: entries are compared bit by bit.

When violated
-------------
Keep a float32 copy of low-precision weights (mixed precision with autocast), raise the learning rate, or look for what makes the
gradients so small.

Limits
------
More than half is a convention; a few frozen-looking entries are normal where gradients differ by many powers of ten.

Sources
-------
Micikevicius et al., Mixed precision training, ICLR 2018, section 3.1: updates below 2^-11 of a float16 weight are lost without a float32
master copy.
"""

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property


def stepped(first_steps: FirstSteps) -> str | None:
    """A finite step of an optimiser, and a gradient that is not zero."""
    if first_steps.trained and not first_steps.stepped:
        return "the subject has no optimiser"
    if first_steps.unmet():
        return first_steps.unmet()
    return None if first_steps.held_moving().any() else "no parameter that the optimiser holds has a gradient other than zero"


def measure(first_steps: FirstSteps) -> Evidence:
    moving, stuck = first_steps.held_moving(), first_steps.stuck.sum(axis=0) * first_steps.held_mask()
    share = float(stuck.sum()) / float(moving.sum())
    order = sorted((p for p in range(len(moving)) if moving[p]), key=lambda p: -int(stuck[p]))
    rows = tuple((f"{first_steps.parameters[p].module}.{first_steps.parameters[p].name}".lstrip("."), int(stuck[p]), int(moving[p]))
                 for p in order[:8])
    worst = first_steps.parameters[order[0]]
    note = "" if share <= 0.5 else (
        f"updates are lost to rounding: {share:.0%} of the entries with a gradient are unchanged by step() of {first_steps.optimizer}, bit "
        "for bit; keep float32 weights (mixed precision), or raise the learning rate")
    table = Table(title="Entries unchanged in three steps", columns=("parameter", "unchanged", "with a gradient"), rows=rows)
    return Evidence(quantity="share of entries with a gradient that a step leaves unchanged", value=share, error=0.0, low=0.0, high=0.5,
                    where=Where(module=worst.module, parameter=worst.name) if share > 0.5 else Where(), note=note, exhibits=(table,))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(stepped,),
    symptoms=("updates lost to rounding", "weights do not change", "low-precision weights"),
    remedies=("float32-precision", "higher-learning-rate"),
    holds_for=(_NET, _NET.changed(optimizer="adam"), _NET.changed(dtype="float32")),
    fails_for=(_NET.changed(learning_rate=1e-10, dtype="float32"), _NET.changed(learning_rate=1e-19)),
)
