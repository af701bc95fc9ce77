"""Evidence: a measured quantity with its error against bounds; the only place where a verdict is computed."""

import math
from dataclasses import dataclass
from enum import StrEnum

from gradcheck_suite.core.exhibits import Exhibit


class Verdict(StrEnum):
    """What a check says of a property and a subject."""

    HOLDS = "holds"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"


class Level(StrEnum):
    """What a violation means: a requirement fails the build, an indicator is a candidate cause and a warning."""

    REQUIREMENT = "requirement"
    INDICATOR = "indicator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The deepest place known; unknown members are ``None``.

    ``module`` is a dotted module path (``""`` is the model itself), ``parameter`` a name within it, ``entry`` an index
    into that tensor, ``function`` a custom ``autograd.Function`` or operation, ``source`` is ``file:line``.
    """

    module: str | None = None
    parameter: str | None = None
    entry: tuple[int, ...] | None = None
    function: str | None = None
    source: str | None = None

    @property
    def tensor(self) -> tuple[str, str]:
        """Module and parameter: what two runs of one case have in common, whichever entry was the worst."""
        return self.module or "", self.parameter or ""

    def __str__(self) -> str:
        path = [part for part in (self.module, self.parameter) if part]
        text = ".".join(path) or ("the whole model" if self.module == "" else "")
        if self.entry is not None:
            text += "[" + ", ".join(map(str, self.entry)) + "]"
        if self.function:
            text += f" ({self.function}" + (f", {self.source})" if self.source else ")")
        elif self.source:
            text += f" ({self.source})"
        return text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """``quantity = value ± error [unit]`` against ``[low, high]``.

    ``resolution`` is stated where the bounds alone cannot be met by a measurement with error (an equality has
    ``low == high`` and a resolution). ``error`` is a bound on the error of ``value``, not a standard deviation; infinity
    or NaN says that nothing could be measured. A value that is not finite may violate and never holds. ``note`` tells in
    words what was seen; ``ruled_out`` lists the other explanations that were excluded; ``level`` overrides the property's
    level for this one piece of evidence (a deviation that is harmless is an indicator, the same deviation with measured
    harm a requirement).

    Raises:
        ValueError: no value lies between the bounds.
    """

    quantity: str
    value: float
    error: float
    low: float
    high: float
    unit: str = "1"
    resolution: float | None = None
    where: Where = Where()
    exhibits: tuple[Exhibit, ...] = ()
    note: str = ""
    ruled_out: tuple[str, ...] = ()
    level: Level | None = None

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"no value lies between the bounds {self.low} and {self.high} of {self.quantity!r}")

    @property
    def verdict(self) -> Verdict:
        """VIOLATED, HOLDS or INCONCLUSIVE, by the rule of the module's documentation and no other."""
        if math.isnan(self.value) or not math.isfinite(self.error) or self.error < 0:
            return Verdict.INCONCLUSIVE
        least, most = self.value - self.error, self.value + self.error
        if least > self.high or most < self.low:
            return Verdict.VIOLATED
        slack = 0.0 if self.resolution is None else self.resolution
        precise = self.resolution is None or self.error <= self.resolution
        inside = math.isfinite(self.value) and self.low - slack <= least and most <= self.high + slack
        return Verdict.HOLDS if inside and precise else Verdict.INCONCLUSIVE

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        if self.low == self.high:
            bounds = f"expected {self.low:.6g}"
        elif math.isinf(self.low):
            bounds = f"allowed ≤ {self.high:.6g}"
        elif math.isinf(self.high):
            bounds = f"allowed ≥ {self.low:.6g}"
        else:
            bounds = f"allowed {self.low:.6g} to {self.high:.6g}"
        if self.resolution is not None:
            bounds += f", resolution {self.resolution:.2g}"
        return f"{self.quantity} = {self.value:.6g} ± {self.error:.2g}{unit} ({bounds})"
