"""Clipping to a norm of c multiplies all gradients by the same min(1, c/(‖g‖ + 10⁻⁶)): the direction stays, the norm is at most c.

Conditions
----------
Some gradient is not zero, all are finite, and ``torch.nn.utils.clip_grad_norm_`` takes gradients of their layout.

Why it matters
--------------
Clipping is a safeguard that fails in silence. A parameter that is given twice, or whose gradient lies in the memory of another's, is
scaled twice: the direction changes. A norm that overflows in float16 or float32 turns every gradient into zero. What changes gradients
after the clip undoes it.

Measured
--------
The gradients of the first step, of the parameters that the optimiser holds and as it holds them, are clipped to half and to twice their
norm and put back. For each gradient the distance to the law's, relative to that; and the norm afterwards over c. The same for the calls
of ``clip_grad_norm_`` that the optimiser's own step makes, in whatever norm, and for the norm with which its update begins: the worst
call of each line of code.

Error
-----
Eight roundings in the gradient's format, 8u, and 8 √n u for the sum of n squares (the probabilistic bound for accumulated rounding);
numbers below the smallest normal one may be lost.

When violated
-------------
Give each parameter once, give each its own gradient, unscale gradients before they are clipped, and add hooks before the clip. Where the
norm overflows, scale the loss down.

Limits
------
A requirement at every budget, for it costs no pass of the model. A clip that a training script makes outside of the optimiser is not
seen. Indicators are: a norm that overflows where nobody clips; calls with one parameter each, which keep the law and turn the direction,
for some mean it so; and what happens to gradients after the clip.

Sources
-------
Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, section 3.2; PyTorch documentation of ``clip_grad_norm_``; Higham and Mary, A new
approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41 (2019).
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gradcheck_suite.captures.clipping import Clip
from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_RESOLUTION = 0.05


def clippable(first_steps: FirstSteps) -> str | None:
    """There are gradients, not all zero, that can be clipped."""
    if first_steps.unmet():
        return first_steps.unmet()
    if not first_steps.clips:
        return "all gradients of the parameters that would be clipped are zero"
    refusals = [clip.refused for clip in first_steps.clips if clip.refused]
    return f"clip_grad_norm_ does not take these gradients: {refusals[0]}" if refusals else None


def measure(first_steps: FirstSteps) -> Iterator[Evidence]:
    clips = [clip for clip in first_steps.clips if (clip.error <= _RESOLUTION).any()]
    if not clips:
        raise NotApplicable("the gradients are too small or too coarse for their format: rounding hides any factor")
    tries = [clip for clip in clips if not clip.within_step]
    lines: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.within_step:
            lines.setdefault(clip.source, []).append(clip)
    for group in [*([clip] for clip in tries), *lines.values()]:
        yield _worst(_scaled(clip) for clip in group)
        yield _worst(_bounded("norm after clipping over the bound", clip, clip.after) for clip in group)
        updates = [clip for clip in group if math.isfinite(clip.at_step)]
        if updates:
            quantity = "norm at the update over the bound of the clip before it"
            yield _worst(_bounded(quantity, clip, clip.at_step, Level.INDICATOR) for clip in updates)
    alone = [clip for clip in clips if clip.within_step and len(clip.parameters) == 1]
    if len({clip.parameters for clip in alone}) > 1:
        yield _direction(alone)


def _worst(found: Iterable[Evidence]) -> Evidence:
    """Of the calls from one line, the one that is furthest beyond what is allowed."""
    return max(found, key=lambda one: 0.0 if math.isnan(one.value) else one.value - one.error - one.high)


def _scaled(clip: Clip) -> Evidence:
    """The gradient that is furthest from the law's, beyond its error."""
    relative, error = clip.relative, clip.error
    worst = int(np.argmax(np.where(error <= _RESOLUTION, relative - error, -np.inf)))
    wrong = [name for name, gap, most in zip(clip.parameters, relative, error, strict=True) if most <= _RESOLUTION and gap > most]
    module, _, name = clip.parameters[worst].rpartition(".")
    overflow = clip.after == 0.0 < clip.factor
    why = "; the norm overflows in its format" if overflow else ""
    for names, text in ((clip.repeated, "it is given more than once, and scaled as often"),
                        (clip.shared, "its gradient lies in the same memory as another's, and is scaled with both")):
        why = f"; {text}" if clip.parameters[worst] in names else why
    note = f"{len(wrong)} of {len(clip.parameters)} gradients are not the law's multiple{why}" if wrong else ""
    return Evidence(quantity="relative distance of a clipped gradient from the law's", value=float(relative[worst]),
                    error=float(error[worst]), low=0.0, high=0.0, resolution=_RESOLUTION, note=note,
                    level=Level.INDICATOR if overflow and not clip.within_step else None,
                    where=Where(module=module, parameter=name, source=clip.source or None) if wrong else Where(source=clip.source or None))


def _bounded(quantity: str, clip: Clip, norm: float, level: Level | None = None) -> Evidence:
    value = norm / clip.bound if clip.bound > 0 else 0.0 if norm == 0 else math.inf
    note = "" if value <= 1 + clip.rounding else f"the norm is {norm:.4g}, the bound {clip.bound:.4g}"
    return Evidence(quantity=quantity, value=value, error=clip.rounding, low=0.0, high=1.0, resolution=_RESOLUTION, note=note, level=level,
                    where=Where(source=clip.source or None))


def _direction(clips: Sequence[Clip]) -> Evidence:
    """By how much gradients that are clipped one by one are scaled differently."""
    factors = [clip.factor for clip in clips]
    value = max(factors) / min(factors) - 1 if min(factors) > 0 else math.inf
    note = "" if value == 0 else "every parameter is clipped by itself: the gradient turns; give all parameters to one call"
    return Evidence(quantity="largest over smallest factor of gradients clipped one by one, minus 1", value=value,
                    error=2 * max(clip.rounding for clip in clips), low=0.0, high=0.0, resolution=_RESOLUTION, note=note,
                    level=Level.INDICATOR, where=Where(source=clips[0].source or None))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)
_HUGE = Defect(kind="scaled-loss", module="", strength=1e25)

PROPERTY = Property(
    measure=measure,
    conditions=(clippable,),
    symptoms=("gradient clipping", "clipping changes the direction of the gradient", "clipped gradients are zero"),
    holds_for=(_NET, _NET.changed(dtype="float32", optimizer="adam"), _NET.changed(optimizer="momentum", loss="cross-entropy"),
               _NET.changed(defects=(Defect(kind="clipping", module="", strength=0.1),))),
    fails_for=(_NET.changed(defects=(Defect(kind="repeated-parameters", module="0"),)),
               _NET.changed(defects=(Defect(kind="shared-gradients", module="0"),)),
               _NET.changed(dtype="float32", defects=(_HUGE,)),
               _NET.changed(defects=(Defect(kind="scaling-after-clipping", module="", strength=1024.0),)),
               _NET.changed(defects=(Defect(kind="clipping-one-by-one", module="", strength=0.01),))),
    domain={"values": ("normal", "large", "tiny", "integers")},
)
