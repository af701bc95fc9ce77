"""``gradcheck audit`` and ``gradcheck search``."""

import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_suite.commands.execution import Outputs, execute
from gradcheck_suite.config import Config, TargetConfig
from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import CheckFinished, CheckStarted, Event, Note, Run, RunFinished, RunStarted, SubjectFacts, SubjectStarted

if TYPE_CHECKING:
    from gradcheck_suite.core.property import Property
    from gradcheck_suite.engine.sources import CaptureSource
    from gradcheck_suite.targets import Options, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which properties, at what budget, from which seed; ``given`` names what was said and not taken from a configuration."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    budget: str = "standard"
    seed: int = 0
    properties: tuple[Path, ...] = ()
    given: tuple[str, ...] = ()

    def resolved(self) -> "tuple[Property, ...]":
        """The chosen properties."""
        from gradcheck_suite.api import selected

        return selected(self.select, self.ignore, self.properties)


def choice_of(config: Config, words: tuple[Sequence[str] | None, Sequence[str] | None], size: str | None, seed: int | None,
              folders: Sequence[Path]) -> Choice:
    """What was said (words to select and to ignore, a budget, a seed, further folders), completed from the configuration."""
    select, ignore = words
    given = tuple(name for name, said in (("select", select), ("ignore", ignore), ("budget", size),
                                             ("seed", seed is not None), ("properties", folders)) if said)
    return Choice(select=tuple(select or config.select), ignore=tuple(ignore or config.ignore), budget=str(size or config.budget),
                  seed=config.seed if seed is None else seed, properties=(*config.properties, *folders), given=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """How the model is kept apart: ``process`` or ``none``, with a deadline in seconds and a memory limit in MiB."""

    kind: str = "process"
    timeout: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """All that ``gradcheck audit`` was asked."""

    targets: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    target_values: str = ""
    loss: str = ""
    modes: tuple[str, ...] = ("",)
    isolation: Isolation = field(default_factory=Isolation)
    resume: str = ""


def audit(request: AuditRequest, choice: Choice, outputs: Outputs, config: Config) -> int:
    """Check the chosen properties on every target; returns the exit code.

    Raises:
        UsageError: a target, an option or a property is not what is allowed; nothing was run.
    """
    from gradcheck_suite.commands.resuming import record, resumed
    from gradcheck_suite.engine.run import Plan, described, run
    from gradcheck_suite.engine.store import finished, read_events

    outputs = outputs.checked()
    earlier: tuple[Event, ...] = ()
    if request.resume:
        folder = run_folder(request.resume, outputs.folder)
        earlier = tuple(event for event in read_events(folder) if isinstance(event, CheckFinished | SubjectStarted))
        request, choice, config = resumed(folder, request, choice, config)
        outputs = replace(outputs, folder=folder.parent)
    parts = openings(request, choice, config)
    plan = Plan(tuple(part.open for part in parts), (), apart=tuple(part.properties for part in parts),
                reproduce=f"gradcheck replay {{}}{_elsewhere(outputs)}".format)
    facts = replace(described(outputs.command, choice.seed, choice.budget, sum(map(len, plan.apart))), fail_on=outputs.fail_on)
    if request.resume:
        facts = replace(facts, id=folder.name)
    else:
        record(outputs.folder / facts.id, request, choice, config)
    done = finished(earlier)
    return execute(run(plan, facts, done), facts, outputs, earlier, {part.name: part.case for part in parts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One subject of a run: its name, how to open it, what is checked on it, and what its case files say beside property and seed."""

    name: str
    open: "Callable[[], CaptureSource]"
    properties: "tuple[Property, ...]"
    case: dict[str, Any]


def openings(request: AuditRequest, choice: Choice, config: Config) -> tuple[Opening, ...]:
    """Every target in every mode, with its own table of the configuration where nothing else was said.

    Raises:
        UsageError: see ``audit``.
    """
    pairs = planned(request, config)
    own = [_own(choice, config, _written(target, options)) for target, options in pairs]
    resolved = {mine: mine.resolved() for mine in own}
    return tuple(Opening(name=target.text, open=partial(opened, target, options, mine, request.isolation), properties=resolved[mine],
                         case=_case_options(target, options, mine, request.isolation))
                 for (target, options), mine in zip(pairs, own, strict=True))


def _own(choice: Choice, config: Config, text: str) -> Choice:
    """The choice for one target: its own table of the configuration, where nothing else was said."""
    own = config.targets.get(text, TargetConfig())
    told = {name: value for name in ("select", "ignore", "budget") if name not in choice.given and (value := getattr(own, name))}
    return replace(choice, **told)


def _written(target: "Target", options: "Options") -> str:
    """A target as the user wrote it, without the mode that tells two subjects apart."""
    return target.text.removesuffix(f" ({options.mode})") if options.mode else target.text


def planned(request: AuditRequest, config: Config) -> "list[tuple[Target, Options]]":
    """Every target in every mode, with the options of the command line before those of the configuration."""
    from gradcheck_suite.targets import Options, parse

    texts = request.targets or tuple(config.targets)
    if not texts:
        raise UsageError("no target was given", allowed="pkg.module:factory, path/file.py:factory, timm:NAME, torchvision:NAME, hf:NAME",
                         instead="Write for example: gradcheck audit mypkg.models:build --input 4x3x32x32")
    found = []
    for text in dict.fromkeys(texts):
        own = config.targets.get(text, TargetConfig())
        modes = request.modes if request.modes != ("",) else ("train", "eval") if own.mode == "both" else (own.mode,)
        inputs = request.inputs or own.input or ((own.inputs,) if own.inputs else ())
        for mode in modes:
            options = Options(inputs=inputs, targets=request.target_values, loss=request.loss or own.loss, trial=bool(inputs),
                              mode=mode)  # type: ignore[arg-type]
            target = parse(text)
            found.append((replace(target, text=f"{text} ({mode})") if len(modes) > 1 else target, options))
    return found


def _case_options(target: "Target", options: "Options", choice: Choice, isolation: Isolation) -> dict[str, Any]:
    """What a case file says of a target, so that ``replay`` can open it again from any folder."""
    return {"target": _written(target, options), "folder": str(Path.cwd()), "budget": choice.budget,
            "inputs": list(options.inputs), "targets": options.targets, "loss": options.loss, "mode": options.mode,
            "isolation": isolation.kind, "timeout": isolation.timeout, "memory_mib": isolation.memory_mib,
            "properties": [str(folder.resolve()) for folder in choice.properties]}


def opened(target: "Target", options: "Options", choice: Choice, isolation: Isolation) -> "CaptureSource":
    """A fresh source of captures of a target, in this process or isolated."""
    from gradcheck_suite.engine import sources

    size = budget(choice.budget)
    if isolation.kind == "none":
        from gradcheck_suite.targets import resolve

        return sources.LocalSource(resolve(target, options), size, choice.seed)
    memory = {} if isolation.memory_mib is None else {"memory": isolation.memory_mib << 20}
    return sources.ChildSource(target, options, size, choice.seed, sources.Limits(seconds=isolation.timeout, **memory))


def run_folder(text: str, folder: Path) -> Path:
    """The folder of a run, from its path, its id or the start of its id.

    Raises:
        UsageError: there is none, or several.
    """
    if Path(text).is_dir():
        return Path(text)
    matches = [path for path in sorted(folder.glob("*")) if path.is_dir() and path.name.startswith(text)]
    if len(matches) != 1:
        known = ", ".join(path.name for path in sorted(folder.glob("*-*"))[-5:]) or "none"
        raise UsageError(f"{len(matches)} runs in {folder} are called {text!r}", allowed=f"the latest: {known}")
    return matches[0]


def search(choice: Choice, outputs: Outputs, defects: Sequence[str] = ()) -> int:
    """Search generated architectures for the smallest violation of each chosen property; returns the exit code.

    A property that was asked for and has no domain is told as not searched.
    """
    outputs = outputs.checked()
    resolved = choice.resolved()
    if not any(prop.domain is not None for prop in resolved):
        raise UsageError("none of the selected properties is searched over generated architectures", instead="See: gradcheck list")
    chosen = [prop for prop in resolved if prop.domain is not None or "select" in choice.given]
    from gradcheck_suite.architectures.defects import fault
    from gradcheck_suite.engine.run import described
    from gradcheck_suite.engine.search import SUBJECT
    from gradcheck_suite.reporting.console import ProgressConsumer

    for kind in defects:
        fault(kind)
    facts = replace(described(outputs.command, choice.seed, choice.budget, len(chosen)), fail_on=outputs.fail_on)
    cases = {SUBJECT: {"plant": list(defects), "properties": [str(folder.resolve()) for folder in choice.properties]}}
    progress = ProgressConsumer(sys.stderr, quiet=outputs.quiet)
    again = "".join(f" --plant {shlex.quote(defect)}" for defect in defects)
    again += "".join(f" --properties {shlex.quote(str(folder))}" for folder in choice.properties) + _elsewhere(outputs)
    hunt = Hunt(choice, tuple(defects), again, partial(progress.tick, budget(choice.budget).examples))
    return execute(searching(chosen, facts, hunt), facts, outputs, cases=cases, progress=progress)


def _elsewhere(outputs: Outputs) -> str:
    """What a command that reproduces a finding must say of the folder of runs; nothing where it is the usual one."""
    return "" if outputs.folder == Outputs().folder else f" -o {shlex.quote(str(outputs.folder))}"


@dataclass(frozen=True, slots=True)
class Hunt:
    """How properties are searched: the choice, faults planted, what a command says besides to do it again, and progress."""

    choice: Choice
    defects: tuple[str, ...] = ()
    again: str = ""
    tick: Callable[[], None] | None = None


def searching(chosen: "Sequence[Property]", facts: Run, hunt: Hunt) -> Generator[Event, None, None]:
    """The events of a search."""
    import time

    from gradcheck_suite.engine import search as engine

    choice, size = hunt.choice, budget(hunt.choice.budget)
    began, tallies = time.monotonic(), list[engine.Tally]()
    yield RunStarted(run=facts)
    yield SubjectStarted(subject=SubjectFacts(name=engine.SUBJECT))
    for prop in chosen:
        started = time.monotonic()
        yield CheckStarted(property=prop.name, subject=engine.SUBJECT)
        findings: tuple[Any, ...] = (engine.unsearched(prop),)
        if prop.domain is not None:
            tallies.append(engine.Tally())
            command = f"gradcheck search --select {prop.id} --seed {choice.seed} --budget {choice.budget}{hunt.again}"
            findings = engine.search(prop, size, choice.seed, hunt.defects, hunt.tick, tallies[-1])
            findings = tuple(replace(finding, reproduce=command) for finding in findings)
        yield CheckFinished(property=prop.name, subject=engine.SUBJECT, findings=findings, seconds=time.monotonic() - started)
    yield Note(text=engine.account(tallies, size))
    yield RunFinished(seconds=time.monotonic() - began)
