"""No parameter has a gradient that is exactly zero in each of the first three steps.

Conditions
----------
The subject has an optimiser (without one the three gradients are the same one), three steps were finite, and the parameter's
gradient exists.

Why it matters
--------------
A gradient that is zero to the last bit moves nothing, with any learning rate: a clamped loss, a softmax over one class, units
that are all dead, or two factors that are both zero. Three steps, because branches that start at zero (ReZero, LoRA, zero-initialised
residual blocks) have such a gradient at first and leave it after one step.

Measured
--------
The number of steps, out of three, in which some entry of some parameter of a module has a gradient other than zero. One piece of
evidence per module that has; one for all that have not, which names the last of them in the model's order; one for the whole model
where all are zero.

Error
-----
None: zeros are counted bit by bit.

When violated
-------------
If all of the model is concerned: look at the end of the loss (clamp, round, argmax, comparison, a saturated output). If some
modules are: look at what follows them (dead units, a zero factor). ``unit-activity`` and
``backward-signal-scale`` name the commonest causes.

Limits
------
A bias in front of a normalisation has a zero gradient by algebra, in floating point up to rounding: its module's weight has not,
so the module is not reported. Three steps of one batch do not prove that the gradient stays zero.

Sources
-------
Zhang, Dauphin and Ma, Fixup initialization, ICLR 2019 and Bachlechner et al., ReZero is all you need, UAI 2021: zero at step 0 is
healthy where the next step leaves it.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def three_steps(first_steps: FirstSteps) -> str | None:
    """Three finite steps of an optimiser."""
    return first_steps.unfinished()


def measure(first_steps: FirstSteps) -> Iterator[Evidence]:
    live = ~(first_steps.zero | first_steps.missing)
    reached = {module: positions for module, positions in first_steps.by_module().items()
               if not first_steps.missing[:, list(positions)].all()}
    counts = {module: int(live[:, list(positions)].any(axis=1).sum()) for module, positions in reached.items()}
    if counts and not any(counts.values()):
        yield _evidence(0, Where(module=""), "every gradient of the model is exactly zero: the loss is flat here "
                        "(a clamped or saturated loss, a rounded or compared output, a softmax over one class)")
        return
    for module, count in counts.items():
        if count:
            yield _evidence(count, Where(module=module), "")
    still = [module for module, count in counts.items() if not count]
    if still:
        others = f", and so are those of {len(still) - 1} modules before it" if len(still) > 1 else ""
        yield _evidence(0, Where(module=still[-1]), f"all gradients of the module are exactly zero{others}: what follows it is dead, "
                        "saturated or multiplied by zero")


def _evidence(count: int, where: Where, note: str) -> Evidence:
    return Evidence(quantity="steps with a gradient other than zero", value=float(count), error=0.0, low=1.0, high=float("inf"),
                    where=where, note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("relu"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(three_steps,),
    symptoms=("zero gradient", "dead gradient", "loss does not move at all"),
    remedies=("leaky-relu-activation", "he-initialization", "batch-normalization"),
    holds_for=(_NET, _NET.changed(defects=(Defect(kind="zero-init", module="2"),))),
    fails_for=(_NET.changed(defects=(Defect(kind="saturated", module="0"),)),),
)
