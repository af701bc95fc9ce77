"""In a network of convolutions and rectifiers the squared gradient norm keeps its mean, but for padding edges.

Conditions
----------
A plain chain of convolutions (and dense layers behind a reshape) with a rectifier behind every one but the last; no pooling;
symmetric weights; biases absent, zero or symmetric; 16 draws of the initialisation or more; a first sample that is not zero;
unless the initialisation is declared, a change is judged only beyond half of the digits of the gradient's norm.

Why it matters
--------------
He initialisation is critical for convolutions as for dense layers, but for what zero padding takes away at the edges (a
factor ((1 + 2 cos(π/(s+1)))/3)ᵈ per layer for a kernel of three on s positions) and for groups: PyTorch's fan-out does not
divide by them, so that ``kaiming_normal_(mode='fan_out')`` on a depthwise convolution loses a factor of the number of
channels per layer.

Measured
--------
Cox's log-normal statistic of log ||Jᵀu||²/||u||² over the draws against the exact second moment: in standard errors, on two
halves of the draws; the smaller deviation is the evidence, so that both must deviate.

Error
-----
None beside rounding. The limit is Student's t at a third of 10⁻³ in each half: false alarms about 10⁻⁶ where the logs are
nearly normal.

When violated
-------------
Use variance 2/fan-in with the fan-in of one group. Where the deviation is small and the network deep, look at the padding:
circular or valid padding keeps the scale exactly.

Limits
------
Only the second moment is exact; the law's spread is estimated. Pooling, normalisation and skip connections are not part of
this law. Where no critical law is declared a violation is an indicator.

Sources
-------
He et al. 2015, arXiv:1502.01852, section 2.2; Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs,
arXiv:1806.05393; Zhou and Gao 1997, Confidence intervals for the log-normal mean, Statistics in Medicine 16.
"""

import math

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure, Unit
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.convolution_moments import Convolution, lognormal_limit, lognormal_score, mean_stretch

RECTIFIERS = ("relu", "leaky_relu", "prelu")


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws = gradient_norm_draws
    layers = _layers(structure, draws)
    logs = draws.ratio[np.isfinite(draws.ratio)]
    if len(logs) < 16 or np.isnan(draws.concentration).any():
        raise NotApplicable(f"{len(logs)} draws with a gradient and an input that is not zero; the statistic needs 16")
    log_mean, halves = math.log(mean_stretch(layers)), np.split(logs, [len(logs) // 2])
    score = min((lognormal_score(half, log_mean) for half in halves), key=abs)
    declared = (structure.initialization or "").startswith("he-")
    harm = abs(float(logs.mean())) / 2 > -math.log(draws.epsilon)
    measured = float(logs.mean() + logs.var(ddof=1) / 2)
    limit, word = lognormal_limit(min(map(len, halves)), 1e-3), "vanishing" if score < 0 else "exploding"
    fact = structure.harmless(float(logs.mean()), draws.epsilon) if abs(score) > limit else None
    if fact:
        raise NotApplicable(fact)
    note = f"mean of the squared stretch 10^{measured / math.log(10):.3f}, critical with edges 10^{log_mean / math.log(10):.3f}"
    return Evidence(
        quantity="standard errors from the critical second moment, the smaller of two halves", value=abs(score), error=0.0, low=0.0,
        high=limit, where=Where(module=""), note=f"{word} gradient: {note}" if abs(score) > limit else note,
        ruled_out=("padding edges", "groups", "chance in one half"), level=Level.REQUIREMENT if declared or harm else Level.INDICATOR,
    )


def _layers(structure: Structure, draws: GradientNormDraws) -> list[Convolution]:
    if structure.outside:
        raise NotApplicable(f"not a plain chain of layers: {structure.outside}")
    units = [unit for unit in structure.chain if unit.kind != "identity"]
    if not any(unit.kind in ("conv1d", "conv2d") for unit in units):
        raise NotApplicable("no convolution in the chain")
    layers: list[Convolution] = []
    for index, unit in enumerate(units):
        after = units[index + 1] if index + 1 < len(units) else None
        slope = after.slope if after is not None and after.kind in RECTIFIERS else 1.0
        if unit.weighted:
            last = not any(later.weighted for later in units[index + 1 :])
            if math.isnan(slope) or (slope == 1.0 and not last):
                raise NotApplicable(f"no rectifier stands behind module {unit.path}")
            layers.append(_layer(unit, slope, float(draws.weight_square[:, draws.weights.index(f"{unit.path}.weight")].mean())))
        elif unit.kind != "flatten" and (unit.kind not in RECTIFIERS or index == 0 or not units[index - 1].weighted):
            raise NotApplicable(f"module {unit.path} is a {unit.kind}, which this law does not cover there")
    return layers


def _layer(unit: Unit, slope: float, measured: float) -> Convolution:
    """The layer at its critical variance; the last one, without a rectifier, at the measured one."""
    facts = dict(unit.settings)
    variance = measured if slope == 1.0 else 2 / ((1 + slope**2) * unit.fan_in)
    if unit.kind == "dense":
        return Convolution(variance=variance, inputs=unit.fan_in, slope=slope)
    kernel, stride, padding, dilation = (_axes(facts[name]) for name in ("kernel", "stride", "padding", "dilation"))
    if not padding or facts["padding_mode"] not in ("zeros", "circular"):
        raise NotApplicable(f"module {unit.path} pads by {facts['padding_mode']}, {facts['padding']}")
    return Convolution(variance=variance, inputs=unit.fan_in // math.prod(kernel), slope=slope, sizes=unit.input_shape[1:], kernel=kernel,
                       stride=stride, padding=padding, dilation=dilation, circular=facts["padding_mode"] == "circular")


def _axes(setting: object) -> tuple[int, ...]:
    return setting if isinstance(setting, tuple) else ()


def _net(initialization: str = "he-normal", *defects: Defect, groups: int = 1, **facts: object) -> Architecture:
    block = (layer("conv2d", channels=8, padding=1, groups=groups), layer("relu"))
    return Architecture(input_shape=(8, 6, 6), layers=block * 5, batch=1, initialization=initialization, defects=defects).changed(**facts)


_STRIDED = (layer("conv2d", channels=12, stride=2, padding=1), layer("relu"), layer("conv2d", channels=8), layer("leaky_relu", slope=0.2),
            layer("flatten"), layer("dense", units=16), layer("relu"), layer("dense", units=4))

PROPERTY = Property(
    measure=measure,
    stochastic=True,
    symptoms=("vanishing gradient", "exploding gradient", "bad initialization", "grouped convolution"),
    remedies=("he-initialization",),
    holds_for=(_net(), _net("he-uniform", groups=2), _net(input_shape=(3, 12, 12), layers=_STRIDED)),
    fails_for=(_net("he-normal-fan-out", groups=4), _net("glorot-normal", groups=8),
               _net("he-normal", Defect(kind="gain", module="4", strength=30.0))),
    domain={"kinds": ("conv2d", "conv1d", "relu", "leaky_relu"), "initializations": ("he-normal",), "values": ("normal",),
            "input_kinds": ("image", "signal"), "depth": (1, 6), "alternating": True, "width": (4, 12)},
)
