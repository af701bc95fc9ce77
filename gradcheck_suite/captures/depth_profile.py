"""The scale of the signal and of its gradient along the depth of a model, over fresh initialisations."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.core.exhibits import Curve, Series

# Student's t at 0.05 % in each tail, by degrees of freedom.
_T = {1: 636.6, 2: 31.60, 3: 12.92, 4: 8.61, 5: 6.87, 6: 5.96, 7: 5.41}


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthProfile:
    """N draws of the initialisation, M modules without children in the order in which they first ran.

    Attributes:
        modules: paths of the M modules.
        forward: (N, M) natural logarithm of the root mean square of the module's output; NaN where it is zero or not finite.
        backward: (N, M) natural logarithm of the Euclidean norm of the loss's gradient with respect to that output; NaN where
            no gradient reached it, or where it is zero or not finite.
        vanished: (N, M) bool, the gradient reached the module and is exactly zero.
        overflowed: (N, M) bool, output or gradient is not finite.
        eps: resolution of the dtype of the activations (2^-23 for float32).
        fresh: whether the draws are fresh initialisations; else there is one.
    """

    modules: tuple[str, ...]
    forward: np.ndarray
    backward: np.ndarray
    vanished: np.ndarray
    overflowed: np.ndarray
    eps: float
    fresh: bool

    @property
    def draws(self) -> int:
        """Number of draws."""
        return int(self.forward.shape[0])

    def total(self, logs: np.ndarray) -> np.ndarray:
        """Per draw, the change of a logarithm from the first to the last module, in decades: the slope times the depth.

        The slope is the median over pairs of modules (Theil 1950, Sen 1968), so that a last layer whose bias outweighs what is left
        of the signal does not bend it. NaN where fewer than four modules have a value.
        """
        return np.array([_total(row) / math.log(10.0) for row in logs])

    @property
    def limit(self) -> float:
        """-log10 sqrt(eps): half of the digits of the dtype, in decades."""
        return -0.5 * math.log10(self.eps)

    def shallow(self) -> str | None:
        """That too few modules have a value, as a fact; ``None`` where there are four."""
        enough = any(np.isfinite(row).sum() >= 4 for row in (*self.forward, *self.backward))
        return None if enough else "fewer than four modules without children ran and were reached by the gradient"

    def change(self, logs: np.ndarray) -> tuple[float, float] | None:
        """Mean over the draws of the change from first to last module in decades, and the half-width of its t interval.

        One draw has no interval: its error is zero. ``None`` where fewer than four modules have a value.
        """
        totals = self.total(logs)
        totals = totals[np.isfinite(totals)]
        if not totals.size:
            return None
        if totals.size == 1:
            return float(totals[0]), 0.0
        return float(totals.mean()), _T.get(totals.size - 1, 4.8) * float(totals.std(ddof=1)) / math.sqrt(totals.size)

    def beyond(self) -> bool:
        """Whether signal or gradient change by more than half the digits, either way."""
        changes = [self.change(logs) for logs in (self.forward, self.backward)]
        return any(abs(value) - error > self.limit for value, error in (change for change in changes if change is not None))

    def curve(self) -> Curve:
        """Scale of signal and gradient over depth, the mean over the draws, in decades."""
        lines = [_line("signal (root mean square)", self.forward), _line("gradient (norm)", self.backward)]
        return Curve(title="Signal and gradient over depth", x_label="module, in order of execution", y_label="log10", series=tuple(lines))


def _total(row: np.ndarray) -> float:
    """Median of the slopes between all pairs of known entries, times their span.

    Of more than two hundred entries that many are taken, evenly; NaN for fewer than four.
    """
    known = np.flatnonzero(np.isfinite(row))
    if known.size < 4:
        return math.nan
    span = float(np.ptp(known))
    known = known[np.unique(np.linspace(0, known.size - 1, min(known.size, 200)).astype(int))]
    first, second = np.triu_indices(known.size, 1)
    return span * float(np.median((row[known[second]] - row[known[first]]) / (known[second] - known[first])))


def _line(name: str, logs: np.ndarray) -> Series:
    known = np.isfinite(logs)
    places = np.flatnonzero(known.any(axis=0))
    means = [float(logs[known[:, place], place].mean() / math.log(10.0)) for place in places]
    return Series(name=name, x=tuple(float(place) for place in places), y=tuple(means))
