"""Variances that declared initialisations give, and how far a mean square over many entries may be from them."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from gradcheck_suite.numerics.quantiles import chi_square_lower, chi_square_upper

Law = Literal["gaussian", "uniform", "truncated", "orthogonal"]

TRUNCATION: Final = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
"""Variance of a standard normal variable cut at two: 1 - 4 φ(2)/(2Φ(2) - 1) = 0.774."""


@dataclass(frozen=True, slots=True)
class EntryLaw:
    """The law of a weight's entries.

    Attributes:
        variance: of an entry, with mean zero.
        law: its shape; ``orthogonal`` fixes the mean square exactly.
    """

    variance: float
    law: Law

    def band(self, count: int, alpha: float) -> tuple[float, float]:
        """Interval for log(mean square of ``count`` entries / variance), left with probability at most ``alpha``.

        Exact (χ²) for Gaussian entries, Bernstein's inequality for bounded ones, rounding for orthogonal matrices.
        """
        if self.law == "orthogonal":
            return -1e-5, 1e-5
        if self.law == "gaussian":
            return math.log(chi_square_lower(alpha / 2, count) / count), math.log(chi_square_upper(alpha / 2, count) / count)
        variance, largest = (0.8, 2.0) if self.law == "uniform" else (_TRUNCATED_SQUARE, 4 / TRUNCATION - 1)
        c = math.log(2 / alpha) / count
        width = largest * c / 3 + math.sqrt((largest * c / 3) ** 2 + 2 * variance * c)
        return math.log1p(-width) if width < 1 else -math.inf, math.log1p(width)


_TRUNCATED_FOURTH: Final = 3 * TRUNCATION - 2 * 8 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
_TRUNCATED_SQUARE: Final = _TRUNCATED_FOURTH / TRUNCATION**2 - 1


def entry_law(initialization: str, fan_in: int, fan_out: int, shape: tuple[int, int]) -> EntryLaw | None:
    """The law of the entries of a weight under a declared initialisation, ``None`` for an unknown name.

    Args:
        initialization: its name in the grammar.
        fan_in: as torch counts it.
        fan_out: as torch counts it.
        shape: rows and columns of the weight as a matrix of output channels by the rest.
    """
    if initialization == "orthogonal":
        return EntryLaw(1 / max(shape), "orthogonal")
    if initialization == "truncated-normal":
        return EntryLaw(TRUNCATION * 2 / fan_in, "truncated")
    variances = {
        "torch-default": 1 / (3 * fan_in), "he-normal": 2 / fan_in, "he-uniform": 2 / fan_in, "he-normal-fan-out": 2 / fan_out,
        "he-uniform-fan-out": 2 / fan_out, "glorot-normal": 2 / (fan_in + fan_out), "glorot-uniform": 2 / (fan_in + fan_out),
        "lecun-normal": 1 / fan_in,
    }
    if initialization not in variances:
        return None
    uniform = "uniform" in initialization or initialization == "torch-default"
    return EntryLaw(variances[initialization], "uniform" if uniform else "gaussian")
