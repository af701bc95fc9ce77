"""Numbers for people: a value with as many digits as its error allows, and bounds in words."""

import math

from gradcheck_suite.core.evidence import Evidence

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DIGITS = 6
_FIXED = range(-3, 6)  # decimal exponents that are written without a power of ten


def power(exponent: int) -> str:
    """``10⁻⁷``."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def plain(value: float, digits: int = _DIGITS) -> str:
    """A number with at most ``digits`` significant digits: ``0.0312``, ``3.1 × 10⁻⁷``, ``∞``."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    if value == 0 or int(exponent) in _FIXED:
        return _minus(f"{value:.{digits}g}" if int(exponent) < digits else f"{value:.0f}")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    if mantissa in {"1", "-1"}:
        return _minus(mantissa[:-1]) + power(int(exponent))
    return _minus(f"{mantissa} × {power(int(exponent))}")


def measured(value: float, error: float) -> str:
    """A value and its error, the value cut where the error begins: ``0.0312 ± 0.0004``, ``(3.12 ± 0.04) × 10⁻⁷``, ``0 (exact)``."""
    if error == 0:
        return f"{plain(value)} (exact)"
    if not (math.isfinite(value) and math.isfinite(error)) or error < 0:
        return f"{plain(value)} ± {plain(error, 2)}"
    size = max(_exponent(value), _exponent(error))
    last = _exponent(error) - 1  # the error keeps two digits
    if size - last >= _DIGITS + 2:
        return f"{plain(value)} ± {plain(error, 2)}"
    if size - last >= _DIGITS and size in _FIXED:
        return _minus(f"{value:.{max(0, -last - 1)}f} ± ") + plain(error, 2)
    if size in _FIXED:
        return _minus(f"{value:.{max(0, -last)}f} ± {error:.{max(0, -last)}f}")
    decimals = max(0, size - last)
    return _minus(f"({_scaled(value, size):.{decimals}f} ± {_scaled(error, size):.{decimals}f}) × {power(size)}")


def allowed(evidence: Evidence) -> str:
    """The bounds in words: ``at most 10⁻⁶``, ``between 0.5 and 2``, ``exactly 1, resolved to 0.01``."""
    low, high = evidence.low, evidence.high
    if low == high:
        text = f"exactly {plain(low)}"
    elif math.isinf(low):
        text = "anything" if math.isinf(high) else f"at most {plain(high)}"
    else:
        text = f"at least {plain(low)}" if math.isinf(high) else f"between {plain(low)} and {plain(high)}"
    return text if evidence.resolution is None else f"{text}, resolved to {plain(evidence.resolution, 2)}"


def _exponent(value: float) -> int:
    return -400 if value == 0 else int(f"{abs(value):.1e}".partition("e")[2])


def _scaled(value: float, exponent: int) -> float:
    """``value / 10**exponent``, also where the power itself would overflow or be denormal."""
    return float(f"{value:.17e}".partition("e")[0]) * 10.0 ** (_exponent_floor(value) - exponent) if value else 0.0


def _exponent_floor(value: float) -> int:
    return int(f"{value:.17e}".partition("e")[2])


def _minus(text: str) -> str:
    return text.replace("-", "−")
