"""Elementwise activations as functions of numpy arrays: value, derivative, kinks and the supremum of the slope."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from scipy.special import erf, expit

Function = Callable[[np.ndarray], np.ndarray]

SELU_SCALE: Final = 1.0507009873554804934193349852946
SELU_ALPHA: Final = 1.6732632423543772848170429916717


@dataclass(frozen=True, slots=True)
class Activation:
    """φ and φ' on float64 arrays.

    ``kinks`` are the points where φ' is discontinuous or φ'' is; quadrature is cut there. ``steepest`` is sup |φ'|.
    ``slope`` is the negative slope of a rectifier and NaN for any other activation.
    """

    value: Function
    derivative: Function
    kinks: tuple[float, ...] = ()
    steepest: float = 1.0
    slope: float = field(default=math.nan)

    @property
    def homogeneous(self) -> bool:
        """φ(cx) = cφ(x) for c > 0: rectifiers and the identity."""
        return not math.isnan(self.slope)


def rectifier(slope: float) -> Activation:
    """x for x > 0, slope·x otherwise: ReLU, leaky ReLU, PReLU; slope 1 is the identity."""
    return Activation(lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope),
                      (0.0,) if slope != 1 else (), max(1.0, abs(slope)), slope)


def activation(kind: str, settings: Mapping[str, Any] | None = None) -> Activation | None:
    """The activation of that grammar kind with those settings, ``None`` where it is not known."""
    given = dict(settings or {})
    if kind in ("relu", "leaky_relu", "prelu"):
        slope = float(given.get("slope", {"relu": 0.0, "leaky_relu": 0.01, "prelu": 0.25}[kind]))
        return None if math.isnan(slope) else rectifier(slope)
    if kind == "elu":
        return _elu(float(given.get("alpha", 1.0)), 1.0)
    if kind == "hardtanh":
        return _clipped(float(given.get("low", -1.0)), float(given.get("high", 1.0)))
    if kind == "softplus" and float(given.get("beta", 1.0)) != 1.0:
        return None
    if kind == "gelu" and given.get("approximate", "none") != "none":
        return None
    return _FIXED.get(kind)


def _elu(alpha: float, scale: float) -> Activation:
    return Activation(
        lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        lambda x: scale * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))), (0.0,), scale * max(1.0, alpha),
    )


def _clipped(low: float, high: float) -> Activation:
    return Activation(lambda x: np.clip(x, low, high), lambda x: ((x > low) & (x < high)).astype(float), (low, high))


def _density(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return result


def _distribution(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * (1 + erf(x / math.sqrt(2)))
    return result


def _mish_slope(x: np.ndarray) -> np.ndarray:
    inner = np.tanh(np.logaddexp(0.0, x))
    result: np.ndarray = inner + x * (1 - inner * inner) * expit(x)
    return result


def _supremum(derivative: Function) -> float:
    """The largest |φ'| of a smooth activation whose slope is extreme within [-6, 6], to rounding (three nested grids)."""
    low, high = -6.0, 6.0
    for _ in range(3):
        grid = np.linspace(low, high, 4001)
        best = grid[int(np.argmax(np.abs(derivative(grid))))]
        step = grid[1] - grid[0]
        low, high = best - 2 * step, best + 2 * step
    return float(np.abs(derivative(np.array([best])))[0])


def _smooth(value: Function, derivative: Function, steepest: float | None = None) -> Activation:
    return Activation(value, derivative, (), _supremum(derivative) if steepest is None else steepest)


_FIXED: Final[Mapping[str, Activation]] = {
    "identity": rectifier(1.0),
    "tanh": _smooth(np.tanh, lambda x: 1 - np.tanh(x) ** 2, 1.0),
    "sigmoid": _smooth(expit, lambda x: expit(x) * expit(-x), 0.25),
    "softsign": Activation(lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2, (0.0,)),
    "selu": _elu(SELU_ALPHA, SELU_SCALE),
    "gelu": _smooth(lambda x: x * _distribution(x), lambda x: _distribution(x) + x * _density(x)),
    "silu": _smooth(lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "mish": _smooth(lambda x: x * np.tanh(np.logaddexp(0.0, x)), _mish_slope),
    "softplus": _smooth(lambda x: np.logaddexp(0.0, x), expit, 1.0),
    "relu6": _clipped(0.0, 6.0),
    "hardswish": Activation(lambda x: x * np.clip(x + 3, 0, 6) / 6,
                            lambda x: np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6)), (-3.0, 3.0), 1.5),
}
