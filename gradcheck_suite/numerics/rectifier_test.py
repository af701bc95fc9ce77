"""The critical law that a chain of dense layers and rectifiers is held against, and its bands, end to end and per layer."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.numerics.chi_square_products import NormLaw, gradient_law, layer_law

_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Critical laws of a chain with L matrices; where fan-in and fan-out are both acceptable there are two, and bands are their hulls.

    Attributes:
        widths: n_0, ..., n_L.
        slopes: behind each matrix, 1 where there is no rectifier.
        variances: of the weights, one tuple of length L per law.
        error: bound on the error of a log that comes from the last matrix's measured variance.
        lower: shift that non-Gaussian weights may give the mean downwards, per matrix (L), natural log.
        upper: likewise upwards.
    """

    widths: tuple[int, ...]
    slopes: tuple[float, ...]
    variances: tuple[tuple[float, ...], ...]
    error: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @property
    def hidden(self) -> int:
        """Number of matrices with a rectifier behind them."""
        return sum(slope != 1.0 for slope in self.slopes)

    @property
    def dead_probability(self) -> float:
        """Probability of a draw with a dead layer."""
        return self._laws(0)[0].dead

    def dead_limit(self, draws: int, alpha: float) -> int:
        """Number of dead draws exceeded with probability at most alpha."""
        return self._laws(0)[0].dead_limit(draws, alpha)

    def band(self, draws: int, alpha: float) -> tuple[float, float]:
        """Interval for the mean of ``draws`` end-to-end logarithms."""
        return self.band_from(0, draws, alpha)

    def band_from(self, index: int, draws: int, alpha: float) -> tuple[float, float]:
        """Interval for the mean log of the squared gradient at the input of matrix ``index`` over that of the cotangent."""
        bands = [law.band(draws, alpha) for law in self._laws(index)]
        return min(low for low, _ in bands) - sum(self.lower[index:]), max(high for _, high in bands) + sum(self.upper[index:])

    def layer_band(self, index: int, draws: int, alpha: float) -> tuple[float, float]:
        """Interval for the mean log of the squared gradient before matrix ``index`` over that behind its rectifier."""
        shape = self.widths[index], self.widths[index + 1]
        bands = [layer_law(*shape, variances[index], self.slopes[index]).band(draws, alpha) for variances in self.variances]
        return min(low for low, _ in bands) - self.lower[index], max(high for _, high in bands) + self.upper[index]

    def nearest(self, mean: float) -> NormLaw:
        """The law whose mean is nearest to a measured one."""
        return min(self._laws(0), key=lambda law: abs(law.mean - mean))

    def factor(self, mean: float, draws: int) -> tuple[float, float]:
        """What a rectified layer multiplies the squared gradient by in expectation, and three standard errors of that."""
        law = self.nearest(mean)
        factor = math.exp((mean - law.mean) / self.hidden)
        return factor, 3 * factor * math.sqrt(law.variance / draws) / self.hidden

    def _laws(self, index: int) -> list[NormLaw]:
        return [gradient_law(self.widths[index:], variances[index:], self.slopes[index:]) for variances in self.variances]


def reference(
    widths: Sequence[int], slopes: Sequence[float], modes: Sequence[str], *,
    last_square: np.ndarray, kurtosis: np.ndarray, concentration: float,
) -> Reference:
    """The critical reference of a chain.

    Args:
        widths: n_0, ..., n_L.
        slopes: negative slope behind each matrix, 1 where there is no rectifier.
        modes: ``in`` for variances 2/((1+a²) n_{l-1}), ``out`` for 2/((1+a²) n_l); both where either will do.
        last_square: mean square of the last matrix's entries in each draw; it stands in for a critical variance where no
            rectifier follows.
        kurtosis: excess kurtosis of each matrix's entries; non-Gaussian entries shift the mean log by -6κ/(n n') per matrix, and by
            -κ c/n_1 for the first, c the concentration Σx⁴/(Σx²)² of the input.
        concentration: c.
    """
    measured, count = float(last_square.mean()), len(last_square) * widths[-1] * widths[-2]
    variances = []
    for mode in modes:
        fans = widths[:-1] if mode == "in" else widths[1:]
        variances.append(tuple(2 / ((1 + a * a) * n) if a != 1.0 else measured for n, a in zip(fans, slopes, strict=True)))
    excess = np.nan_to_num(kurtosis)
    sizes = [concentration / widths[1], *(6 / (a * b) for a, b in itertools.pairwise(widths[1:]))]
    shifts = [-float(k) * size for k, size in zip(excess, sizes, strict=True)]
    last_known = slopes[-1] != 1.0
    error = 0.0 if last_known else _SIGMAS * math.sqrt(max(2.0 + float(excess[-1]), 0.1) / count)
    lower, upper = tuple(max(-shift, 0.0) for shift in shifts), tuple(max(shift, 0.0) for shift in shifts)
    return Reference(tuple(widths), tuple(slopes), tuple(variances), error, lower, upper)
