"""The gradient agrees with that of a float64 twin to half of its digits.

Conditions
----------
The model computes in a dtype narrower than float64, runs in float64 as well, and its twin's gradient is finite and not zero.

Why it matters
--------------
A difference of two nearly equal numbers, a sum that runs away, a mean of squares minus a square of means: the loss looks right to a few
digits, and its gradient has none. No test against the same arithmetic finds it.

Measured
--------
The Euclidean norm of the difference between the gradient and the twin's over that of the twin's, with the same weights and batch. The twin
is made under float64 as the default dtype, so that tensors made in ``forward`` are wide too. Models that are random in training mode are
compared in evaluation mode.

Error
-----
The relative difference of two runs of the model itself, plus eight times the relative change of the twin's gradient when each of its
parameters changes by a rounding error: what chaos and kinks make of rounding in any arithmetic. A difference beyond the bound also has
to exceed what crossing kinks changes, seen where parameters change by 32 rounding errors.

When violated
-------------
Look for cancellation in the modules whose parameters differ most; compute those parts in float64, or rewrite them (``var`` in place of
E[x²] - E[x]², ``logsumexp``, ``expm1``, ``log1p``).

Limits
------
More than 10 % is a requirement: no digit is right. More than sqrt(eps) is an indicator. Chaotic models (long recurrences, exploding
gradients) differ by nature and cannot be judged.

Sources
-------
Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 1.7 (cancellation); half of the digits is what an inner product of
two such gradients keeps.
"""

import math

from gradcheck_suite.captures.precision_twin import PrecisionTwin
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

NO_DIGIT = 0.1


def comparable(precision_twin: PrecisionTwin) -> str | None:
    """Both gradients are finite and the twin's is not zero; a gradient that is finite only in float64 is compared too."""
    if not precision_twin.twin_finite:
        return "the gradient is not finite in float64 either"
    if precision_twin.finite and math.isnan(precision_twin.difference):
        return "the gradient is zero"
    return None


def measure(precision_twin: PrecisionTwin) -> Evidence:
    seen = precision_twin
    value = seen.difference if seen.finite else math.inf
    limit = math.sqrt(seen.eps)
    kinks = 8 * seen.crossing if limit < value < math.inf else 0.0
    module, _, name = seen.parameter.rpartition(".")
    note = "" if value <= limit else (
        f"the {seen.dtype} gradient has {'no correct digit' if value > NO_DIGIT else 'lost more than half of its digits'} against a "
        f"float64 twin (relative difference {value:.2g}), most in {seen.parameter}; look for cancellation")
    return Evidence(quantity="relative difference from the float64 twin's gradient", value=value if math.isfinite(value) else 1e308,
                    error=seen.noise + 8 * seen.sensitivity + kinks, low=-math.inf, high=limit, note=note,
                    where=Where(module=module, parameter=name) if note else Where(), level=None if value > NO_DIGIT else Level.INDICATOR)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8,
                    dtype="float32")

PROPERTY = Property(
    measure=measure,
    conditions=(comparable,),
    symptoms=("no correct digits in float32", "precision loss", "cancellation"),
    holds_for=(_NET, _NET.changed(layers=(layer("dense", units=8), layer("layer_norm"), layer("gelu"), layer("dense", units=3)))),
    fails_for=(_NET.changed(defects=(Defect(kind="cancelling-loss", module="", strength=1e7),)),),
)
