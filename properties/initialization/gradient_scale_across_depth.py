"""In a network of dense layers and rectifiers the squared gradient norm keeps its scale from the output to the input.

Conditions
----------
A plain chain: dense layers on vectors with a ReLU, leaky ReLU or PReLU behind every one but the last; inputs that carry a gradient
and are not zero. Fresh initialisations can be drawn. Unless the initialisation is declared, weights and biases have mean zero and
nothing is hooked, frozen or parametrised, there are two rectified layers at least, and only a change beyond half of the digits is judged.

Why it matters
--------------
Every layer multiplies the squared gradient by fan-in times the variance of a weight times (1+a²)/2, a being the negative slope. A
factor of 1/6, which PyTorch's default gives, leaves 10⁻²³ after thirty layers; a factor of 2 makes 10⁹. He initialisation makes it 1.

Measured
--------
log10 of ||Jᵀu||²/||u||² with a random cotangent u, averaged over fresh initialisations; draws with a dead layer are set aside, and are
evidence of their own where there are more than their exact probability allows. The allowed interval is that of the critical law: weights
of variance 2/(1+a²)/fan-in or fan-out, and the measured variance where no rectifier follows. It is a Chernoff bound of the exact law at
finite width, a product of χ² and binomial factors.

Error
-----
That of the measured variance of the last matrix; the scatter of the draws is in the interval. False alarms: at most alpha.

When violated
-------------
Vanishing: draw weights with variance 2/fan-in (``nn.init.kaiming_normal_(weight, nonlinearity="relu")``), or add residual connections or
normalisation. Exploding: the variance is too large. A network whose gradient stays within the resolution of its number format may
train all the same: unless a critical law was declared, the violation is then an indicator.

Limits
------
Errors of opposite sign in two layers cancel: see ``gradient-scale-per-layer``. Weights that are not Gaussian shift the mean by about
-6 κ/(n n') per layer, κ being their excess kurtosis; the interval is widened by that.

Sources
-------
He et al. 2015, arXiv:1502.01852, section 2.2; Hanin and Nica 2020, Products of many large random matrices and gradients in deep neural
networks, Commun. Math. Phys. 376; Hanin 2018, arXiv:1801.03744 (the sum of reciprocal widths).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradcheck_suite.captures.chains import DenseChain, dense_chain, gradients_at_matrices, lawless, no_rectifier_chain, weight_columns
from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Curve, Series
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.quantiles import student_upper
from gradcheck_suite.numerics.rectifier_test import Reference, reference

DECADE = math.log(10)
QUANTITY = "log10 of the squared gradient norm, input over output"


def rectified(structure: Structure) -> str | None:
    """A rectifier stands behind every dense layer but the last."""
    return no_rectifier_chain(structure)


def lawful(structure: Structure, gradient_norm_draws: GradientNormDraws) -> str | None:
    """The input is not zero, and an undeclared law of weights and biases is symmetric and untouched."""
    return lawless(structure, gradient_norm_draws)


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Iterator[Evidence]:
    draws, chain = gradient_norm_draws, dense_chain(structure)
    columns, declared = weight_columns(chain, draws), structure.initialization or ""
    law = reference(
        chain.widths, chain.slopes, ("out",) if declared.endswith("fan-out") else ("in",) if declared.startswith("he-") else ("in", "out"),
        last_square=draws.weight_square[:, columns[-1]], kurtosis=draws.kurtosis[columns], concentration=float(draws.concentration.max()),
    )
    at = gradients_at_matrices(chain, draws)[np.isfinite(draws.ratio)]
    limit = law.dead_limit(draws.draws, draws.alpha / 2)
    if draws.dead > limit or not len(at):
        yield Evidence(quantity="draws in which no gradient arrives", value=float(draws.dead), error=0.0, low=0.0, high=float(limit),
                       unit="draws", note=f"vanishing gradient: the exact probability of a dead layer is {law.dead_probability:.3g}")
    if len(at):
        low, high = law.band(len(at), draws.alpha / 2)
        mean = float(at[:, 0].mean())
        if not low <= mean <= high and draws.dead <= limit and (fact := structure.harmless(mean, draws.epsilon)):
            raise NotApplicable(fact)
        yield Evidence(
            quantity=QUANTITY, value=mean / DECADE, error=law.error / DECADE,
            low=low / DECADE, high=high / DECADE, unit="decades", where=Where(module=""), note=_note(mean, (low, high), len(at), law),
            exhibits=(_curve(chain, at, law, draws.alpha),), level=_level(declared, mean, draws.epsilon),
            ruled_out=(f"dead layers ({draws.dead} of {draws.draws} draws)", "zero input"),
        )


def remeasure(evidence: Evidence, gradient_norm_draws: GradientNormDraws) -> Evidence | None:
    """The same scale in a network that is a plain chain no more, over the whole batch, with the t interval of the draws."""
    logs = gradient_norm_draws.ratio_batch[np.isfinite(gradient_norm_draws.ratio_batch)] / DECADE
    if evidence.quantity != QUANTITY or len(logs) < 2:
        return None
    error = float(student_upper(gradient_norm_draws.alpha / 2, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    return replace(evidence, value=float(logs.mean()), error=error, note="", exhibits=(), ruled_out=())


def _level(declared: str, mean: float, epsilon: float) -> Level:
    """A requirement where a critical law is declared, or where the gradient leaves the resolution of its number format."""
    return Level.REQUIREMENT if declared.startswith("he-") or abs(mean) / 2 > -math.log(epsilon) else Level.INDICATOR


def _note(mean: float, band: tuple[float, float], draws: int, law: Reference) -> str:
    factor, spread = law.factor(mean, draws)
    rate = f"each rectified layer multiplies the squared gradient by {factor:.4g} ± {spread:.2g} on average where 1 keeps it"
    if band[0] <= mean <= band[1]:
        return rate
    return f"{'vanishing' if mean < band[0] else 'exploding'} gradient: {rate}; {abs(mean) / DECADE:.1f} decades over {law.hidden} layers"


def _curve(chain: DenseChain, at: np.ndarray, law: Reference, alpha: float) -> Curve:
    """log10 of the gradient's root mean square at the input of every matrix, relative to the cotangent's, with the critical band."""
    sizes = np.log(np.array(chain.widths[:-1]) / chain.widths[-1])
    logs, x = (at - sizes) / 2 / DECADE, tuple(float(index) for index in range(len(sizes)))
    bands = (np.array([law.band_from(index, len(at), alpha) for index in range(len(x))]) - sizes[:, None]) / 2 / DECADE
    spread = logs.std(0, ddof=1) if len(logs) > 1 else np.zeros(len(x))
    series = Series(name="measured, with the scatter of one draw", x=x, y=tuple(logs.mean(0).tolist()), error=tuple(spread.tolist()))
    return Curve(title="The gradient from the output (right) to the input (left)", x_label="dense layer, at its input", series=(series,),
                 y_label="log10 of gradient RMS over the output's", band=tuple(zip(x, *bands.T.tolist(), strict=True)))


def _chain(depth: int, width: int = 64, activation: str = "relu", **facts: object) -> Architecture:
    hidden = [item for _ in range(depth) for item in (layer("dense", units=width), layer(activation))]
    layers = (*hidden, layer("dense", units=10))
    return Architecture(input_shape=(width,), layers=layers, batch=2, initialization="he-normal").changed(**facts)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    remeasure=remeasure,
    conditions=(rectified, lawful),
    symptoms=("vanishing gradient", "exploding gradient", "bad initialization"),
    remedies=("he-initialization", "batch-normalization", "residual-connections"),
    holds_for=(_chain(10), _chain(8, initialization="he-uniform"), _chain(5, 16, initialization="he-normal-fan-out"),
               _chain(2, 3, "leaky_relu")),
    fails_for=(_chain(30, initialization="torch-default", dtype="float32"), _chain(10, initialization="glorot-normal"),
               _chain(6, 16, initialization="orthogonal")),
    domain={"kinds": ("dense", "relu", "leaky_relu"), "initializations": ("he-normal", "he-uniform"), "input_kinds": ("features",),
            "depth": (1, 8), "alternating": True, "values": ("normal", "integers", "ties", "one-hot"), "training": True},
)
