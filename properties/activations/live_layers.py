"""No layer has all of its units dead, at the start and after three steps.

Conditions
----------
The model applies an activation function to at least two samples.

Why it matters
--------------
A unit whose slope is zero for every sample receives no gradient and cannot recover. If all units of a layer are dead, the gradient
ends there: every layer before it is frozen, and the output no longer depends on the input.

Measured
--------
Per activation function and place: the share of units whose slope is exactly zero on the whole batch, at the start and after three steps of
the subject's optimiser; the smaller of the two counts, since a layer that revives is healthy. An input of exactly zero (a branch that
starts at zero) is a rectifier's kink and does not count.

Error
-----
None: slopes are computed and compared with zero. With n observations and none of them active, a unit's true rate of activity is below
3/n with 95 % confidence (the rule of three).

When violated
-------------
Look at the biases (a large negative one kills a ReLU), at the scale of the inputs and weights before the layer, and at the width: narrow,
deep ReLU networks die by chance. Leaky ReLU, GELU or ELU keep a slope.

Limits
------
Without a loss and an optimiser no step is made, and a violation is an indicator. Layers with a few dead units are left to
``live-units-after-training``. Activations inside fused recurrent kernels are not seen.

Sources
-------
Lu et al., Dying ReLU and initialization, Communications in Computational Physics 28 (2020), theorem 3.1 (narrow deep networks die);
Hanley and Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249 (1983) (the rule of three).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.unit_activity import LayerActivity, UnitActivity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def activated(unit_activity: UnitActivity) -> str | None:
    """An activation function ran on several samples."""
    if unit_activity.samples < 2:
        return "the batch has no two samples"
    return None if any(seen.units for seen in unit_activity.layers) else "no activation function was seen"


def measure(unit_activity: UnitActivity) -> Iterator[Evidence]:
    later = {(seen.module, seen.function, seen.after, seen.units): seen for seen in unit_activity.later}
    for seen in unit_activity.layers:
        if not seen.units or seen.observations < 2:
            continue
        after = later.get((seen.module, seen.function, seen.after, seen.units), seen)
        share = min(seen.dead / seen.units, after.dead / after.units)
        yield Evidence(quantity="share of dead units", value=share, error=0.0, low=0.0, high=1.0 - 0.5 / seen.units,
                       where=Where(module=seen.place, function=seen.function), note=_note(seen, bool(later)) if share == 1 else "",
                       level=None if later else Level.INDICATOR)


def _note(seen: LayerActivity, trained: bool) -> str:
    when = "at the start and after three steps" if trained else "at the start; no step of an optimiser was made"
    return (f"dead layer: all {seen.units} units of this {seen.function} are never active on {seen.observations} values each, {when} "
            f"(true rate below {3 / seen.observations:.2g}); use leaky ReLU or GELU, smaller biases, more width")


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=16), layer("relu"), layer("dense", units=3)), loss="mse", batch=16)

PROPERTY = Property(
    measure=measure,
    conditions=(activated,),
    symptoms=("dead ReLU", "dead layer", "dying ReLU"),
    remedies=("leaky-relu-activation", "he-initialization", "batch-normalization"),
    holds_for=(_NET, _NET.changed(layers=(layer("dense", units=8), layer("sigmoid"), layer("dense", units=3)))),
    fails_for=(_NET.changed(defects=(Defect(kind="saturated", module="0"),)),),
)
