"""Quantiles of the usual distributions by ``scipy.special`` alone: importing ``scipy.stats`` takes longer than many an audit."""

import math

from scipy.special import bdtr, bdtrc, bdtrik, chdtri, gammaincinv, ndtri, stdtrit


def normal_upper(alpha: float) -> float:
    """What a standard normal variable exceeds with probability ``alpha``."""
    return -float(ndtri(alpha))


def student_upper(alpha: float, degrees: float) -> float:
    """What Student's t exceeds with probability ``alpha``."""
    return -float(stdtrit(degrees, alpha))


def chi_square_upper(alpha: float, degrees: float) -> float:
    """What χ² exceeds with probability ``alpha``."""
    return float(chdtri(degrees, alpha))


def chi_square_lower(alpha: float, degrees: float) -> float:
    """What χ² stays below with probability ``alpha``."""
    return 2 * float(gammaincinv(degrees / 2, alpha))


def binomial_cdf(count: float, trials: int, chance: float) -> float:
    """P(K <= count)."""
    return 0.0 if count < 0 else float(bdtr(float(math.floor(min(count, trials))), trials, chance))


def binomial_upper(alpha: float, trials: int, chance: float) -> int:
    """The smallest count that is exceeded with probability at most ``alpha``."""
    count = _start(1 - alpha, trials, chance)
    while count < trials and bdtrc(float(count), trials, chance) > alpha:
        count += 1
    while count > 0 and bdtrc(float(count - 1), trials, chance) <= alpha:
        count -= 1
    return count


def binomial_lower(alpha: float, trials: int, chance: float) -> int:
    """The smallest count with P(K <= count) >= ``alpha``."""
    count = _start(alpha, trials, chance)
    while count < trials and bdtr(float(count), trials, chance) < alpha:
        count += 1
    while count > 0 and bdtr(float(count - 1), trials, chance) >= alpha:
        count -= 1
    return count


def _start(probability: float, trials: int, chance: float) -> int:
    """Where to begin: the real-valued quantile, or the mean where it is not a number."""
    found = float(bdtrik(probability, trials, chance)) if 0 < probability < 1 and 0 < chance < 1 else math.nan
    return round(trials * chance) if not math.isfinite(found) else max(0, min(trials, math.ceil(found)))
