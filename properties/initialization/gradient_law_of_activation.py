"""In a network of dense layers the log of the squared gradient norm has the mean that its activations and weight variances give.

Conditions
----------
A plain chain of dense layers on vectors with at most one elementwise activation of known law behind each; Gaussian weights,
no biases or zero ones in every draw; fresh initialisations; an input that is not zero.

Why it matters
--------------
How the gradient's scale changes with depth is a matter of the pair of activation and initialisation: He keeps it for ReLU,
lets it vanish slowly for GELU and SiLU, explode for tanh; Glorot is near critical for tanh and kills a sigmoid network. The
law is known for every pair, so a network that does not follow it was not initialised, or not differentiated, as it says.

Measured
--------
The mean of log ||Jᵀu||²/||u||² over fresh initialisations against 4000 draws of an exact simulation of the same widths,
activations and input norms, in standard errors. Two stages on separate draws: the smaller deviation is the evidence, so that
both must deviate. Variances are those of the declared initialisation, or, where none is declared, those measured.

Error
-----
None beside rounding: the scatter of both samples is in the standard error. False alarms: at most 10⁻³ per stage, 10⁻⁶ in
all, where the mean of the logs is normal.

When violated
-------------
Compare the weights' variances with the declared ones (a gain on one layer, a forgotten call), then the backward pass of the
activations. The note tells how the pair behaves: critical, vanishing or exploding, and by what factor per layer.

Limits
------
A pair that vanishes as its law says passes: it is initialised as declared. Non-Gaussian weights are not judged. Errors of
opposite sign cancel.

Sources
-------
Poole et al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017, arXiv:1611.01232 (mean-field factors); Pennington et al.
2018, arXiv:1802.09979; He et al. 2015, arXiv:1502.01852; Glorot and Bengio 2010.
"""

import math

import numpy as np

from gradcheck_suite.captures.chains import DenseChain, dense_chain, gradients_at_matrices, lawless, weight_columns
from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.activations import Activation, activation
from gradcheck_suite.numerics.mean_field import trajectory
from gradcheck_suite.numerics.residual_law import two_stage_score
from gradcheck_suite.numerics.simulator import simulate

DRAWS, SIGMAS = 4000, 3.29
VARIANCES = {
    "he-normal": lambda fan_in, fan_out: 2 / fan_in, "he-normal-fan-out": lambda fan_in, fan_out: 2 / fan_out,
    "glorot-normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out), "lecun-normal": lambda fan_in, fan_out: 1 / fan_in,
}


def gaussian(structure: Structure, gradient_norm_draws: GradientNormDraws) -> str | None:
    """Weights are Gaussian, biases zero, the input is not."""
    draws, chain = gradient_norm_draws, dense_chain(structure)
    fact = lawless(structure, draws)
    if fact:
        return fact
    if structure.architecture is not None and structure.initialization not in VARIANCES:
        return f"the initialisation {structure.initialization} is not Gaussian without biases"
    if structure.architecture is None and draws.bias_square.any():
        return "some bias is not zero"
    for column in weight_columns(chain, draws):
        scatter = math.sqrt(24 / (draws.draws * int(draws.weight_entries[column])))
        if structure.architecture is None and not abs(draws.kurtosis[column]) < 6 * scatter:
            return f"the entries of {draws.weights[column]} are not Gaussian (excess kurtosis {draws.kurtosis[column]:.2f})"
    return None


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws, chain = gradient_norm_draws, dense_chain(structure)
    phis = [activation(unit.kind, dict(unit.settings)) for unit in chain.activations]
    unknown = [unit.kind for unit, phi in zip(chain.activations, phis, strict=True) if phi is None]
    if unknown:
        raise NotApplicable(f"no law is known for the activation {unknown[0]} with these settings")
    known = [phi for phi in phis if phi is not None]
    columns = weight_columns(chain, draws)
    declared = VARIANCES.get(structure.initialization or "")
    fans = list(zip(chain.widths[:-1], chain.widths[1:], strict=True))
    variances = [declared(*pair) for pair in fans] if declared else draws.weight_square[:, columns].mean(0).tolist()
    norms = np.resize(draws.input_norm, DRAWS)
    reference = simulate(known, chain.widths, variances, input_norm=norms, draws=DRAWS, generator=np.random.default_rng(0)).gradient
    logs, reference = gradients_at_matrices(chain, draws)[:, 0], reference[np.isfinite(reference)]
    logs = logs[np.isfinite(logs)]
    if len(logs) < 4:
        raise NotApplicable("the gradient is zero in nearly every draw")
    score = abs(two_stage_score(logs, reference))
    return Evidence(
        quantity="standard errors from the simulated law, the smaller of two stages", value=score, error=0.0, low=0.0, high=SIGMAS,
        where=Where(module=""), note=_behaviour(chain, known, variances, float(logs.mean()), norms), ruled_out=("chance in one stage",),
        level=None if declared else Level.INDICATOR,
    )


def _behaviour(chain: DenseChain, phis: list[Activation], variances: list[float], mean: float, norms: np.ndarray) -> str:
    """What the pair of activation and initialisation does, by mean-field theory of the first hidden layer's activation and gain."""
    hidden = max(1, len(phis) - 1)
    gain, square = variances[0] * chain.widths[0], float(np.mean(norms**2)) / chain.widths[0]
    factor = math.exp(trajectory(phis[0], gain, 0.0, hidden, input_mean_square=square).log_gradient / hidden)
    word = "critical" if abs(factor - 1) < 0.01 else "vanishing" if factor < 1 else "exploding"
    return (f"{chain.activations[0].kind} with fan-in times variance {gain:.3g}: {word}, a factor {factor:.4g} of the squared gradient per "
            f"layer in the limit of wide layers; measured over {hidden} hidden layers: 10^{mean / math.log(10):.2f}")


def _net(kind: str, initialization: str, *defects: Defect) -> Architecture:
    hidden = [item for _ in range(5) for item in (layer("dense", units=32), layer(kind))]
    layers = (*hidden, layer("dense", units=4))
    return Architecture(input_shape=(32,), layers=layers, batch=1, initialization=initialization, defects=defects)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    conditions=(gaussian,),
    symptoms=("bad initialization", "vanishing gradient", "exploding gradient", "activation and initialisation do not match"),
    remedies=("he-initialization", "glorot-initialization"),
    holds_for=(_net("tanh", "glorot-normal"), _net("gelu", "he-normal"), _net("selu", "lecun-normal"), _net("sigmoid", "glorot-normal"),
               _net("relu", "he-normal-fan-out")),
    fails_for=(_net("tanh", "glorot-normal", Defect(kind="gain", module="4", strength=0.5)),
               _net("gelu", "he-normal", Defect(kind="gain", module="0", strength=0.5))),
    domain={"kinds": ("dense", "tanh", "gelu", "relu", "silu", "selu", "elu", "sigmoid", "softplus"), "input_kinds": ("features",),
            "initializations": ("he-normal", "glorot-normal", "lecun-normal"), "values": ("normal", "integers", "one-hot"),
            "width": (4, 16), "depth": (1, 6), "alternating": True},
)
