"""``[tool.gradcheck_suite]`` in pyproject.toml, validated; unknown keys are refused with the closest name."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gradcheck_suite.core.errors import UsageError, did_you_mean


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetConfig(_Strict):
    """Settings of one target: ``[tool.gradcheck_suite.targets."pkg.module:factory"]``."""

    input: tuple[str, ...] = ()
    inputs: str = ""
    loss: str = ""
    mode: Literal["", "train", "eval", "both"] = ""
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    budget: Literal["", "quick", "standard", "thorough"] = ""


class Config(_Strict):
    """The whole table, with its defaults."""

    budget: Literal["quick", "standard", "thorough"] = "standard"
    seed: int = 0
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    properties: tuple[Path, ...] = ()
    output_dir: Path = Path("reports")
    fail_on: Literal["requirement", "indicator"] = "requirement"
    isolation: Literal["process", "none"] = "process"
    timeout: float | None = Field(default=None, gt=0)
    memory_mib: int | None = Field(default=None, gt=0)
    targets: Mapping[str, TargetConfig] = Field(default_factory=dict)


def find(start: Path) -> Path | None:
    """The nearest pyproject.toml at or above a folder that has a ``[tool.gradcheck_suite]`` table."""
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file() and table(path) is not None:
            return path
    return None


def table(path: Path) -> dict[str, Any] | None:
    """The table of a pyproject.toml, or ``None``.

    Raises:
        UsageError: the file is not TOML or cannot be read.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    tools = data.get("tool", {})
    found = tools.get("gradcheck_suite") if isinstance(tools, dict) else None
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{path}: tool.gradcheck_suite is {type(found).__name__}", allowed="a table")
    return found


def read(start: Path) -> Config:
    """The configuration that applies to a folder; the defaults where there is none.

    Raises:
        UsageError: a key is unknown or a value has the wrong type.
    """
    path = find(start)
    if path is None:
        return Config()
    return validated(table(path) or {}, str(path), path.parent)


def validated(data: Mapping[str, Any], origin: str, folder: Path) -> Config:
    """A configuration from a table; paths are relative to the folder of the file.

    Raises:
        UsageError: see ``read``.
    """
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{origin}: unknown key tool.gradcheck_suite.{place}", instead=_closest(first["loc"])) from None
        raise UsageError(f"{origin}: tool.gradcheck_suite.{place}: {first['msg']}, got {first['input']!r}") from None
    update: dict[str, object] = {"properties": tuple(folder / path for path in config.properties)}
    if "output_dir" in config.model_fields_set:
        update["output_dir"] = folder / config.output_dir
    return config.model_copy(update=update)


def _closest(place: tuple[int | str, ...]) -> str:
    fields = list(TargetConfig.model_fields if len(place) > 1 else Config.model_fields)
    return did_you_mean(str(place[-1]), fields) + "Allowed: " + ", ".join(sorted(fields))
