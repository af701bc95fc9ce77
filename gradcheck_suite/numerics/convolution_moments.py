"""The exact second moment of the gradient's stretch in rectifier networks of convolutions, with padding edges, stride and groups.

For independent weights of symmetric law, flipping the sign of all weights of a channel flips its masks and keeps the law, so that
E D t² = t²/2 for a tangent t although the masks of a channel depend on each other. Position by position

    E t_l² = v_l · (channels per group) · A_l E t_{l-1}² · (1 + a²)/2,

where A_l[i, j] counts the taps by which output i reads input j inside the bounds. The mean over outputs is E ‖Jᵀu‖²/‖u‖².
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.numerics.quantiles import student_upper


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution (``kernel`` not empty) or a dense layer on everything before it (``kernel`` empty).

    Attributes:
        variance: of a weight.
        inputs: channels that one output reads: those of its group; of a dense layer all inputs.
        slope: negative slope of the rectifier behind it, 1 where there is none.
        sizes: positions on each axis of its input.
        kernel, stride, padding, dilation: on each axis.
        circular: whether the padding wraps around.
    """

    variance: float
    inputs: int
    slope: float
    sizes: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    circular: bool = False

    def taps(self, axis: int) -> np.ndarray:
        """Number of taps by which each output position (rows) reads each input position (columns) on one axis."""
        size, kernel, stride, pad, dilation = (getattr(self, name)[axis] for name in ("sizes", "kernel", "stride", "padding", "dilation"))
        outputs = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        counts = np.zeros((outputs, size))
        for row in range(outputs):
            for tap in range(kernel):
                column = row * stride + tap * dilation - pad
                if self.circular:
                    counts[row, column % size] += 1
                elif 0 <= column < size:
                    counts[row, column] += 1
        return counts


def mean_stretch(layers: Sequence[Convolution]) -> float:
    """E ‖Jᵀu‖²/‖u‖² for a cotangent u with independent entries."""
    axes = [np.ones(size) for size in layers[0].sizes]
    factor = 1.0
    for layer in layers:
        factor *= layer.variance * layer.inputs * (1 + layer.slope**2) / 2
        if layer.kernel:
            axes = [layer.taps(axis) @ moments for axis, moments in enumerate(axes)]
        else:
            factor *= math.prod(float(moments.mean()) for moments in axes)
            axes = []
    return factor * math.prod(float(moments.mean()) for moments in axes)


def lognormal_score(logs: np.ndarray, log_mean: float) -> float:
    """Cox's statistic: standard errors by which the mean of a log-normal variable, estimated from logs, is off a known mean.

    Z = (mean + s²/2 - log m)/√(s²/N + s⁴/(2(N - 1))); compare with Student's t of N - 1 degrees of freedom (Zhou and Gao 1997).
    """
    count, square = len(logs), float(logs.var(ddof=1))
    return float((logs.mean() + square / 2 - log_mean) / math.sqrt(square / count + square**2 / (2 * (count - 1))))


def lognormal_limit(count: int, alpha: float) -> float:
    """Two-sided limit of ``lognormal_score``; alpha is taken three times smaller because the logs are only nearly normal."""
    return student_upper(alpha / 6, count - 1)
