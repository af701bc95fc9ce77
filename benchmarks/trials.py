"""The trials of the calibration: for every stochastic property a network for which it is true and one for which it is not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy.stats import norm

from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.numerics.convolution_moments import lognormal_limit


def two_halves(nominal: float) -> float:
    """Standard errors that each of two independent halves passes with probability √nominal, so that both do with ``nominal``."""
    return float(norm.isf(math.sqrt(nominal) / 2))


def two_lognormal_halves(nominal: float) -> float:
    """The same for halves of eight draws and Cox's statistic, with the property's own factor of three."""
    return lognormal_limit(8, math.sqrt(nominal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A property, a network for which it is true, one for which it is not, and how a rejection is read off.

    Attributes:
        property: its id.
        true: the network of the true cases.
        false: the network of the controls.
        draws: initialisations of one repetition on the true case.
        fresh: the probe that each repetition runs anew. What the property names besides is seen once.
        limit: the evidence's value at which a nominal rate is reached, where the property works at a fixed rate; ``None`` where its
            interval follows ``alpha``.
        margin: the interval contains a margin besides chance: no nominal rate, and the verdict is that of the property as it is.
        share: the part of the repetitions asked for that an expensive trial makes.
    """

    property: str
    true: Architecture
    false: Architecture
    draws: int = 4
    fresh: str = "gradient_norm_draws"
    limit: Callable[[float], float] | None = None
    margin: bool = False
    share: float = 1.0


def chain(depth: int, width: int, kind: str, initialization: str, *defects: Defect, **facts: Any) -> Architecture:
    """A dense chain with one activation behind every layer but the last, of four units."""
    hidden = [item for _ in range(depth) for item in (layer("dense", units=width), layer(kind))]
    layers = (*hidden, layer("dense", units=4))
    plain = Architecture(input_shape=(width,), layers=layers, batch=1, initialization=initialization, defects=defects)
    return plain.changed(**facts)


def blocks(count: int, *defects: Defect) -> Architecture:
    """Residual blocks of width 12."""
    block = layer("residual", layer("dense", units=16), layer("relu"), layer("dense", units=12))
    return Architecture(input_shape=(12,), layers=(block,) * count, batch=1, initialization="he-normal", defects=defects)


def images(initialization: str, groups: int = 1) -> Architecture:
    """Four zero-padded convolutions of eight channels."""
    block = (layer("conv2d", channels=8, padding=1, groups=groups), layer("relu"))
    return Architecture(input_shape=(8, 5, 5), layers=block * 4, batch=1, initialization=initialization)


def normalised(kind: str, depth: int, *defects: Defect) -> Architecture:
    """Plain blocks of width 64 with a normalisation before each ReLU."""
    unit = [item for _ in range(depth) for item in (layer("dense", units=64), layer(kind), layer("relu"))]
    return Architecture(input_shape=(64,), layers=(*unit, layer("dense", units=4)), batch=16, initialization="he-normal", defects=defects)


def encoders(norm_place: str) -> Architecture:
    """A transformer encoder of width 32."""
    layers = (layer("encoder", heads=2, hidden=32, norm=norm_place), layer("layer_norm"), layer("dense", units=16))
    return Architecture(input_shape=(8, 32), layers=layers, initialization="glorot-normal", loss="cross-entropy")


def recurrent(initialization: str, *defects: Defect) -> Architecture:
    """A simple recurrent network over forty steps."""
    layers = (layer("rnn", units=16), layer("last_step"), layer("dense", units=2))
    return Architecture(input_shape=(40, 3), layers=layers, loss="mse", batch=8, dtype="float32", values="tiny",
                        initialization=initialization, defects=defects)


def gain(module: str, strength: float) -> Defect:
    """Weights of one module multiplied by a number."""
    return Defect(kind="gain", module=module, strength=strength)


def slowed(module: str, strength: float) -> Defect:
    """The gradient that leaves one module multiplied by a number."""
    return Defect(kind="scaled-backward", module=module, strength=strength)


def _halved(depth: int) -> tuple[Defect, ...]:
    """Half of the declared variance in every weight of a chain."""
    return tuple(gain(str(2 * index), math.sqrt(0.5)) for index in range(depth + 1))


_DEEP, _LAYER, _VARIANCE, _LAW = (
    "gradient-scale-across-depth", "gradient-scale-per-layer", "declared-weight-variance", "gradient-law-of-activation")
_HARMFUL: dict[str, Any] = {"loss": "cross-entropy", "batch": 16, "dtype": "float32"}
_LOSS: dict[str, Any] = {"loss": "mse", "batch": 8, "dtype": "float32"}
TRIALS = (
    Trial(property=_DEEP, true=chain(5, 16, "relu", "he-normal"), false=chain(5, 16, "relu", "glorot-normal")),
    Trial(property=_DEEP, true=chain(4, 3, "relu", "he-normal"), false=chain(12, 3, "relu", "torch-default")),
    Trial(property=_DEEP, true=chain(5, 12, "relu", "he-uniform"), false=chain(5, 12, "relu", "torch-default")),
    Trial(property=_DEEP, true=chain(4, 8, "leaky_relu", "he-normal"), false=chain(8, 8, "leaky_relu", "glorot-normal")),
    *(Trial(property=_DEEP, true=chain(depth, 64, "relu", "he-normal"), false=chain(depth, 64, "relu", "glorot-normal"), draws=8)
      for depth in (1, 2, 3)),
    Trial(property=_LAYER, true=chain(4, 12, "relu", "he-normal"),
          false=chain(4, 12, "relu", "he-normal", gain("2", 3.0), gain("4", 1 / 3))),
    Trial(property=_VARIANCE, true=chain(2, 12, "tanh", "glorot-normal"), false=chain(2, 12, "tanh", "glorot-normal", gain("2", 0.9))),
    Trial(property=_VARIANCE, true=chain(2, 12, "relu", "torch-default"), false=chain(2, 12, "relu", "torch-default", gain("2", 0.8))),
    Trial(property=_VARIANCE, true=chain(2, 12, "relu", "orthogonal"), false=chain(2, 12, "relu", "orthogonal", gain("2", 1.1))),
    Trial(property="unsaturated-fraction", true=chain(4, 24, "relu", "he-normal", batch=4), fresh="backward_pass",
          false=chain(4, 24, "relu", "he-normal", Defect(kind="saturated", module="2"), batch=4)),
    Trial(property="weight-variance", true=chain(24, 12, "relu", "torch-default", **_HARMFUL), fresh="weight_law",
          false=chain(24, 12, "relu", "torch-default", gain("4", 30.0), **_HARMFUL)),
    Trial(property=_LAW, true=chain(4, 16, "tanh", "glorot-normal"), limit=two_halves, draws=8,
          false=chain(4, 16, "tanh", "glorot-normal", *_halved(4))),
    Trial(property=_LAW, true=chain(4, 12, "gelu", "he-normal"), limit=two_halves, draws=8,
          false=chain(4, 12, "gelu", "he-normal", *_halved(4))),
    Trial(property="gradient-growth-law", true=blocks(4), false=blocks(4, slowed("1", 0.3)), limit=two_halves, draws=8),
    Trial(property="gradient-floor", true=blocks(4, *(gain(f"{index}.2", 0.3) for index in range(4))), draws=16,
          false=blocks(4, slowed("1", 1e-3))),
    Trial(property="gradient-scale-of-convolutions", true=images("he-normal"), false=images("he-normal-fan-out", 4), draws=16,
          limit=two_lognormal_halves),
    Trial(property="batch-norm-growth-rate", true=normalised("batch_norm", 11), false=normalised("batch_norm", 11, slowed("15", 0.1)),
          margin=True, share=0.1),
    Trial(property="layer-norm-growth-rate", true=normalised("layer_norm", 8), false=normalised("layer_norm", 8, slowed("9", 0.1)),
          margin=True, share=0.1),
    Trial(property="weight-consistency", true=chain(4, 12, "relu", "he-normal", **_LOSS), fresh="weight_law", margin=True,
          false=chain(4, 12, "relu", "he-normal", gain("4", 0.01), **_LOSS)),
    Trial(property="gradient-persistence-in-depth", true=chain(10, 24, "relu", "he-normal", **_LOSS), fresh="depth_profile",
          false=chain(20, 24, "relu", "torch-default", **_LOSS), margin=True, share=0.1),
    Trial(property="gradient-boundedness-in-depth", true=chain(10, 24, "relu", "he-normal", **_LOSS), fresh="depth_profile",
          false=chain(10, 24, "relu", "he-normal", *(gain(str(2 * index), 4.0) for index in range(10)), **_LOSS), margin=True, share=0.1),
    Trial(property="temporal-boundedness", true=recurrent("torch-default"), fresh="temporal_profile", margin=True, share=0.1,
          false=recurrent("orthogonal", gain("0", 1.3))),
    Trial(property="gradient-scale-with-depth", true=encoders("pre"), false=encoders("post"), fresh="encoder_depth_sweep", margin=True,
          draws=32, share=0.02),
)
