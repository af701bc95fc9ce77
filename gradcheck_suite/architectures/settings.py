"""The options of a layer kind: type, range, default; checked before anything is built from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gradcheck_suite.core.architecture import Layer, Option
from gradcheck_suite.core.errors import UsageError, did_you_mean

Settings = dict[str, Option | None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One option of a layer kind.

    Attributes:
        form: ``integer``, ``number`` (finite), ``flag``, ``choice`` or ``sizes`` (an integer, or one per spatial axis).
        default: taken where the option is not given.
        low: least value allowed, of an integer, a number or each of the sizes.
        high: largest value allowed.
        choices: what a ``choice`` allows.
        required: whether it must be given.
    """

    form: Literal["integer", "number", "flag", "choice", "sizes"]
    default: Option | None = None
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    required: bool = False

    @property
    def allowed(self) -> str:
        """What may be written, for a message."""
        if self.form == "flag":
            return "True or False"
        if self.form == "choice":
            return ", ".join(map(repr, self.choices))
        noun = {"integer": "an integer", "number": "a finite number", "sizes": "an integer, or one per spatial axis,"}[self.form]
        bounds = [f"at least {self.low:g}"] if self.low > -math.inf else []
        bounds += [f"at most {self.high:g}"] if self.high < math.inf else []
        return " ".join([noun, " and ".join(bounds)]).strip()

    def accepts(self, value: object) -> bool:
        """Whether the value has the type and lies in the range."""
        if self.form == "flag":
            return isinstance(value, bool)
        if self.form == "choice":
            return value in self.choices
        if self.form == "sizes" and isinstance(value, tuple):
            return len(value) in (1, 2) and all(self._number(item, int) for item in value)
        return self._number(value, int if self.form in ("integer", "sizes") else (int, float))

    def _number(self, value: object, types: type | tuple[type, ...]) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(value, types):
            return False
        return math.isfinite(value) and self.low <= value <= self.high


def integer(default: int | None = None, low: int = 1, high: float = math.inf) -> Setting:
    """An integer; required where there is no default."""
    return Setting("integer", default, low, high, required=default is None)


def number(default: float, low: float = -math.inf, high: float = math.inf) -> Setting:
    """A finite number."""
    return Setting("number", default, low, high)


def flag(default: bool) -> Setting:
    """True or False."""
    return Setting("flag", default)


def choice(*choices: str) -> Setting:
    """One of several words; the first is the default."""
    return Setting("choice", choices[0], choices=choices)


def sizes(default: int | None, low: int = 1) -> Setting:
    """An integer, or one per spatial axis; never required."""
    return Setting("sizes", default, low)


def settings(layer: Layer, table: Mapping[str, Setting]) -> Settings:
    """Every option of the layer's kind with its value, defaults filled in.

    Raises:
        UsageError: an option is unknown, missing, or its value is not allowed.
    """
    given = dict(layer.options)
    for name in given:
        if name not in table:
            raise UsageError(f"{layer.kind} has no option {name!r}", allowed=", ".join(table) or "no options",
                             instead=did_you_mean(name, table))
    result: Settings = {}
    for name, setting in table.items():
        if name not in given and setting.required:
            raise UsageError(
                f"{layer.kind} needs the option {name!r}",
                allowed=setting.allowed,
                instead=f"Write layer({layer.kind!r}, {name}=...).",
            )
        value = given.get(name, setting.default)
        if name in given and not setting.accepts(value):
            raise UsageError(f"{layer.kind}: {name}={value!r}", allowed=setting.allowed)
        result[name] = value
    return result
