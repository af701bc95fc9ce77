"""The gradient by backprop is the derivative of the forward pass, in every module and in the whole model.

Conditions
----------
The subject runs in float64 (a twin is built or converted), and has a trained parameter or a floating input to move.

Why it matters
--------------
A custom ``autograd.Function``, a hook, a registered operation, a detached tensor or a value edited in place can give a
gradient that is not the derivative. Nothing fails: a model trained with a gradient one per cent off trains, badly.

Measured
--------
(Σ⟨g, v⟩ - d)/S along one random direction v over all parameters and inputs of a place, each moved in proportion to its size:
g by backprop from a random cotangent, d by differences of the forward pass in float64, S the root of Σ(|g|·|v|)² over tensors. A
place is a module call alone, a container's own code with affine stubs for its inner calls, or the whole model with its loss.

Error
-----
Of quick agreement, the tolerance itself (two independent numbers). Else four times the estimate of a Ridders-Neville tableau
over steps on which no discrete choice of the model changes, with measured noise, and the roundoff of any narrower type inside.

When violated
-------------
Read the place, the worst entry and the pattern of the error: a constant factor, a sign, a transposition, one row, a missing
reduction, no gradient at all. The custom function is named with its file and line. A mismatch that is meant (straight-through,
gradient reversal) is declared in ``intended``. A loss whose target is held constant is only an indicator if every parameter still learns.

Limits
------
One direction per place misses an error orthogonal to it, with a probability of about the ratio of resolution to error; custom
functions get several. Points on a kink are decided at a point nearby. Sensitivities below a millionth of a place's output are
resolved to a millionth of that. Where a narrow type or noise limits the differences the finding is inconclusive, with its place.

Sources
-------
Griewank and Walther, Evaluating Derivatives (2008), section 3.2 (adjoints) and chapter 14 (kinks); Ridders, Advances in
Engineering Software 4 (1982); Moré and Wild, SIAM J. Sci. Comput. 33 (2011), estimating computational noise.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.directional_derivative import RESOLUTION, DirectionalDerivative, Place, TensorComparison
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property

QUANTITY = "relative disagreement between backprop and finite difference along a random direction"


def measure(directional_derivative: DirectionalDerivative) -> Iterator[Evidence]:
    if not directional_derivative.compared:
        reasons = {note for place in directional_derivative.places for note in place.note}
        unmet = "nothing was compared: no output with entries depends on anything that can be perturbed"
        raise NotApplicable("; ".join([unmet, *sorted(reasons)]))
    explained = any(place.blamed or place.intended for place in directional_derivative.places)
    for place in directional_derivative.places:
        if place.intended:
            yield _intended(place)
        elif place.blamed or place.status in ("agrees", "kink", "noise") or _unexplained(place, explained):
            yield _judged(place, _left_out(directional_derivative) if place.role == "whole" else ())
    for name, reason in directional_derivative.stale:
        note = f"declared as intended ({reason}), but nothing disagrees there"
        yield Evidence(quantity="mismatches found where one is declared", value=0.0, error=math.inf, low=1.0, high=math.inf,
                       where=Where(module=name), level=Level.INDICATOR, note=note)


def _unexplained(place: Place, explained: bool) -> bool:
    return place.status == "disagrees" and place.role == "whole" and not explained


def _left_out(captured: DirectionalDerivative) -> tuple[Table, ...]:
    """What was not compared, or compared and not laid on anybody, for the reader to see."""
    rows = [*captured.skipped]
    rows += [(p.module, "; ".join(p.note)) for p in captured.places if p.status in ("nothing", "not replayed")]
    rows += [(p.module, f"{p.kind}: {_words(p, p.worst)}") for p in captured.places
             if p.status == "disagrees" and not p.blamed and not p.intended and p.role != "whole"]
    title = "Not compared, or of no consequence for any parameter"
    return (Table(title=title, columns=("module", "what"), rows=tuple(rows)),) if rows else ()


def _judged(place: Place, exhibits: tuple[Table, ...] = ()) -> Evidence:
    value, error = _relative(place.analytic - place.numeric, place.error, place.scale or abs(place.numeric))
    if place.status != "disagrees" and abs(value) > error:
        error = math.inf
    worst = place.worst if place.blamed else None
    owned = worst is not None and worst.role == "parameter"
    where = Where(module=place.module, parameter=worst.name if worst is not None and owned else None,
                  entry=worst.entry if worst is not None and owned else None, function=place.function, source=place.source)
    held = place.stopped == "objective" and not place.starved  # a target held constant in a loss: usual practice
    level = Level.INDICATOR if place.role == "outputs" or held else None  # an output may be detached on purpose
    return Evidence(quantity=QUANTITY, value=value, error=error, low=0.0, high=0.0, resolution=RESOLUTION, where=where, level=level,
                    note=_words(place, worst), ruled_out=place.ruled_out, exhibits=exhibits)


def _relative(gap: float, error: float, scale: float) -> tuple[float, float]:
    """Gap and error in units of the scale; a gradient that is not finite is infinitely far off."""
    if math.isnan(gap) and error == 0.0:
        return math.inf, 0.0
    if scale == 0.0:
        return gap, error
    return gap / scale, error / scale


def _words(place: Place, worst: TensorComparison | None) -> str:
    parts = [f"{place.kind} ({place.role})" + (f", {place.calls} equal calls" if place.calls > 1 else "")]
    if worst is not None:
        parts.append(f"{worst.role} {worst.name}: {worst.pattern}" if worst.pattern else f"{worst.role} {worst.name}")
        if worst.entry is not None:
            parts.append(f"worst entry {list(worst.entry)}: backprop {worst.entry_analytic:.6g}, difference {worst.entry_numeric:.6g}")
        if worst.numeric:
            parts.append(f"ratio {worst.analytic / worst.numeric:.9g} ± {worst.error / abs(worst.numeric):.1g}")
    parts += [f"kink: {kink}" for kink in place.kinks]
    return "; ".join([*parts, *place.note])


def _intended(place: Place) -> Evidence:
    value, _ = _relative(place.analytic - place.numeric, place.error, place.scale or abs(place.numeric))
    return Evidence(quantity=QUANTITY, value=value, error=math.inf, low=0.0, high=0.0, resolution=RESOLUTION, level=Level.INDICATOR,
                    where=Where(module=place.module, function=place.function, source=place.source),
                    note=f"intended mismatch, declared: {place.intended}; not judged")


def _net(*layers: object, **facts: object) -> Architecture:
    return Architecture(input_shape=(6,), layers=layers, **facts)  # type: ignore[arg-type]


_PLAIN = _net(layer("dense", units=8), layer("tanh"), layer("dense", units=3), loss="mse")

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("wrong gradient", "gradient check fails", "custom backward", "detached", "gradcheck"),
    holds_for=(
        _PLAIN,
        _net(layer("dense", units=8), layer("relu"), layer("dropout"), layer("dense", units=2), values="zeros"),
        _net(layer("dense", units=8), layer("batch_norm"), layer("leaky_relu"), layer("dense", units=2), dtype="float32", loss="mse"),
        Architecture(input_shape=(2, 8, 8), values="ties",
                     layers=(layer("conv2d", channels=3, padding=1), layer("relu"), layer("max_pool"), layer("flatten"))),
    ),
    fails_for=(
        _PLAIN.changed(defects=(Defect(kind="scaled-backward", module="1", strength=1.01),)),
        _PLAIN.changed(defects=(Defect(kind="sign-flip", module="0"),)),
        _PLAIN.changed(defects=(Defect(kind="parameter-hook", module="2", strength=0.99),)),
        _PLAIN.changed(defects=(Defect(kind="swapped-samples", module="1"),)),
    ),
)
