"""The gradient by backprop stays the derivative when a module is called otherwise than the model happens to call it.

Conditions
----------
Some module has code of the user's own, the budget allows a sweep, and as the model calls that module its gradient is right.

Why it matters
--------------
Of the wrong gradients that ecosystems have had, most are right on the usual input. They show with a setting off its default, one sample
or an odd size, a zero, two equal entries, the other mode, a frozen weight, an expanded gradient. A test on one input passes them all.

Measured
--------
(Σ⟨g, v⟩ - d)/S as for backprop-agreement, around each call of a module that is not PyTorch's own, in each of a number of configurations:
mode, settings, shape, zeros, ties, other values, which tensors require a gradient, use in the graph, memory layout and size of the
incoming gradient, other parameters. One change at a time; settings that are refused, with other lengths; with a thorough
budget pairs of changes, drawn by Hypothesis and shrunk with the verdict held.

Error
-----
That of backprop-agreement.

When violated
-------------
Read the change: it is the only difference to a call whose gradient is right. Call the module so in a test of its own. A configuration
that is never meant is best refused: raise an error in the forward pass.

Limits
------
A configuration is refused where the forward pass raises or gives numbers that are not finite. Kinks and points that cannot be decided
are counted, not judged. A setting that stops gradients is taken as meant. Settings kept elsewhere than in attributes are not varied.

Sources
-------
Griewank and Walther, Evaluating Derivatives (2008), section 3.2; MacIver and Donaldson, Test-Case Reduction via Test-Case Generation,
ECOOP 2020 (shrinking).
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.configuration_sweep import ConfigurationSweep, SweptModule, WrongConfiguration
from gradcheck_suite.captures.directional_derivative import RESOLUTION
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property

QUANTITY = "largest relative disagreement between backprop and finite difference over configurations"


def measure(configuration_sweep: ConfigurationSweep) -> Iterator[Evidence]:
    swept = [module for module in configuration_sweep.modules if not module.left_out and module.tried]
    if not swept:
        reasons = sorted({module.left_out for module in configuration_sweep.modules if module.left_out})
        raise NotApplicable("; ".join(["no module could be swept", *reasons]))
    told: set[tuple[str, str | None]] = set()
    for module in swept:
        for wrong in module.wrong:
            place = (wrong.place.module, wrong.place.function)
            if place not in told:
                told.add(place)
                yield _wrong(module, wrong)
        if not module.wrong:
            yield _right(module)


def _wrong(module: SweptModule, wrong: WrongConfiguration) -> Evidence:
    place, worst = wrong.place, wrong.place.worst
    owned = worst if worst is not None and worst.role == "parameter" else None
    where = Where(module=place.module, parameter=owned.name if owned else None, entry=owned.entry if owned else None,
                  function=place.function, source=place.source)
    gap = place.analytic - place.numeric
    value = math.inf if math.isnan(gap) else gap / (place.scale or abs(place.numeric) or 1.0)
    error = 0.0 if math.isinf(value) else place.error / (place.scale or abs(place.numeric) or 1.0)
    changed = " and ".join(f"{text} [{axis}]" for axis, text in wrong.changes)
    also = f"also with {', '.join(wrong.also[:4])}" if wrong.also else ""
    parts = [f"{place.kind}, right as the model calls it, wrong with {changed}"]
    if worst is not None:
        parts.append(f"{worst.role} {worst.name}: {worst.pattern}" if worst.pattern else f"{worst.role} {worst.name}")
    note = "; ".join(part for part in (*parts, *place.note, also) if part)
    if wrong.intended:
        error, note = math.inf, f"intended mismatch, declared: {wrong.intended}; not judged"
    return Evidence(quantity=QUANTITY, value=value, error=error, low=0.0, high=0.0, resolution=RESOLUTION, where=where, note=note,
                    ruled_out=place.ruled_out, exhibits=(_table(module),), level=Level.INDICATOR if wrong.intended else None)


def _right(module: SweptModule) -> Evidence:
    undecided, refused = sum(a.undecided for a in module.axes), sum(a.refused for a in module.axes)
    agrees = sum(a.agrees for a in module.axes)
    note = f"{module.kind}: {agrees} of {module.tried} configurations agree, {refused} refused by the module, {undecided} undecided"
    error = 0.0 if agrees else math.inf
    return Evidence(quantity=QUANTITY, value=0.0, error=error, low=0.0, high=0.0, resolution=RESOLUTION, where=Where(module=module.module),
                    note=note, exhibits=(_table(module),))


def _table(module: SweptModule) -> Table:
    rows = tuple((a.axis, a.tried, a.agrees, a.wrong, a.undecided, a.refused) for a in module.axes)
    return Table(title=f"configurations of {module.module or 'the model'}", rows=rows,
                 columns=("what was varied", "tried", "agree", "wrong", "undecided", "refused"))


def _net(*layers: Layer, **facts: object) -> Architecture:
    return Architecture(input_shape=(6,), layers=layers).changed(**facts)


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "gradient check fails", "custom backward"),
    holds_for=(_net(layer("residual", layer("dense", units=6), layer("tanh")), layer("dense", units=3), loss="mse"),
               _net(layer("dense", units=8), layer("concatenate", layer("dense", units=4)), layer("relu"), loss="cross-entropy"),
               Architecture(input_shape=(5, 4), layers=(layer("encoder", heads=2, hidden=6), layer("last_step"), layer("dense", units=2)))),
    fails_for=(
        _net(layer("dense", units=8), layer("tanh"), defects=(Defect(kind="scaled-single-sample", module="1", strength=2.0),)),
        _net(layer("dense", units=8), layer("gelu"), layer("dense", units=3), loss="mse",
             defects=(Defect(kind="scaled-single-sample", module="2", strength=1.01),)),
    ),
    domain=None,
)
