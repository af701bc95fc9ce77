"""``gradcheck audit --resume RUN``: what a run was asked is on disk beside its results, and a resumed run is asked the same."""

import contextlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gradcheck_suite.config import Config
from gradcheck_suite.core.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_suite.commands.checking import AuditRequest, Choice

ASKED: Final = "asked.json"
_OPTIONS: Final = {"targets": "the targets:", "inputs": "--input", "target_values": "--targets", "loss": "--loss", "modes": "the modes:",
                   "select": "--select", "ignore": "--ignore", "budget": "--budget", "seed": "--seed", "properties": "--properties"}


def record(folder: Path, request: "AuditRequest", choice: "Choice", config: Config) -> None:
    """Put what a run is asked beside its results. Where the folder cannot be written the store says so, once for both."""
    from gradcheck_suite.engine.store import write_whole

    data = {"folder": str(Path.cwd()), "request": asdict(request), "choice": asdict(choice), "config": config.model_dump(mode="json")}
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ASKED, json.dumps(data, indent=1, default=str))


def resumed(
    folder: Path, request: "AuditRequest", choice: "Choice", config: Config
) -> "tuple[AuditRequest, Choice, Config]":
    """What the run in that folder was asked, with its configuration of then.

    Args:
        folder: of the run.
        request: what is asked now; what it says must be what was said then, what it leaves out is taken from then.
        choice: likewise.
        config: of now; limits that are given now win over those of then.

    Raises:
        UsageError: something else is asked now, or the folder does not say what was asked.
    """
    from gradcheck_suite.commands.checking import AuditRequest, Choice, Isolation

    data = _read(folder)
    then = AuditRequest(**_tuples(data["request"], AuditRequest) | {"isolation": Isolation(**data["request"]["isolation"])})
    chosen = Choice(**_tuples(data["choice"], Choice) | {"properties": tuple(map(Path, data["choice"]["properties"]))})
    said: dict[str, tuple[Any, Any]] = {
        name: (getattr(request, name), getattr(then, name)) for name in ("targets", "inputs", "target_values", "loss", "modes")
        if getattr(request, name) not in ((), "", ("",))}
    said |= {name: (getattr(choice, name), getattr(chosen, name)) for name in choice.given}
    for name, (now, was) in said.items():
        if _plain(now) != _plain(was or (tuple(data["config"]["targets"]) if name == "targets" else was)):
            raise UsageError(f"the run {folder.name} was started with {_OPTIONS[name]} {_told(was)}, not {_told(now)}",
                             allowed="what the run was started with",
                             instead=f"Write: gradcheck audit --resume {folder.name}; or start a new run without --resume.")
    if data["folder"] != str(Path.cwd()):
        raise UsageError(f"the run {folder.name} was started in another folder", instead=f"Go there first: cd {data['folder']}")
    usual = Isolation(kind=config.isolation, timeout=config.timeout, memory_mib=config.memory_mib)
    isolation = then.isolation if request.isolation == usual else request.isolation
    return replace(then, isolation=isolation, resume=request.resume), chosen, Config.model_validate(data["config"])


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / ASKED).read_text(encoding="utf-8"))
        return {name: found[name] for name in ("folder", "request", "choice", "config")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} does not say what the run was asked: {error}", allowed="a run of gradcheck audit",
                         instead="Start it again without --resume.") from None


def _tuples(data: dict[str, Any], kind: type) -> dict[str, Any]:
    """JSON's lists as the tuples that they were, of the fields that are known."""
    known = {field.name for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items() if name in known}


def _plain(value: Any) -> Any:
    return tuple(map(str, value)) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"
