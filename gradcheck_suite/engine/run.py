"""``run``: subjects and properties in, a stream of events out. It knows no renderer and no front door."""

import datetime
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.core.events import CheckFinished, CheckStarted, Event, Run, RunFinished, RunStarted, SubjectStarted
from gradcheck_suite.core.finding import finding_id
from gradcheck_suite.core.property import Property
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.confirming import Again, checked
from gradcheck_suite.engine.remedying import Remedies

if TYPE_CHECKING:
    from gradcheck_suite.engine.sources import CaptureSource


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does: every property on every subject, or on each subject its own, which ``apart`` then tells.

    ``open_source`` opens a fresh source of captures of one subject: a second one is opened to confirm a violation.
    ``reproduce`` makes the command that replays a finding, from the finding's id.
    """

    open_sources: tuple[Callable[[], "CaptureSource"], ...]
    properties: tuple[Property, ...]
    reproduce: Callable[[str], str] = "gradcheck replay {}".format
    confirm: bool = True
    apart: tuple[tuple[Property, ...], ...] = ()


def described(command: Sequence[str], seed: int, budget: str, planned: int) -> Run:
    """The record of a run that starts now; its id is a hash of what and when."""
    now = datetime.datetime.now(datetime.UTC)
    stamp = now.strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{finding_id(*command, seed, now.isoformat())[:4]}"
    return Run(id=name, command=tuple(command), seed=seed, budget=budget, versions=versions(), started=now.isoformat(timespec="seconds"),
               checks_planned=planned)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers: Python, this package, torch, numpy; read from metadata, nothing imported."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in ("gradcheck-suite", "torch", "numpy", "scipy", "hypothesis"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def run(plan: Plan, facts: Run, done: Collection[tuple[str, str]] = ()) -> Generator[Event, None, None]:
    """Check every property on every subject, as events.

    Args:
        plan: what to do.
        facts: the record of this run; its budget says how many remedies are tried for what is violated.
        done: pairs of property and subject that an earlier, interrupted run finished; they are not run again.
    """
    began = time.monotonic()
    yield RunStarted(run=facts)
    broken: list[str] = []
    for index, open_source in enumerate(plan.open_sources):
        try:
            yield from _subject(replace(plan, properties=plan.apart[index]) if plan.apart else plan, open_source, facts, done)
        except TargetError as error:
            if len(plan.open_sources) == 1:
                raise
            broken.append(str(error))
    yield RunFinished(seconds=time.monotonic() - began, broken=tuple(broken))


def _subject(
    plan: Plan, open_source: Callable[[], "CaptureSource"], facts: Run, done: Collection[tuple[str, str]]
) -> Generator[Event, None, None]:
    source, again = open_source(), Again(open_source)
    remedies = Remedies(source, BUDGETS[facts.budget].remedies if facts.budget in BUDGETS else 0)
    try:
        yield SubjectStarted(subject=source.facts)
        for prop in plan.properties:
            if (prop.name, source.facts.name) not in done:
                yield from _check(plan, prop, source, again, remedies)
    finally:
        remedies.close()
        again.close()
        source.close()


def _check(
    plan: Plan, prop: Property, source: "CaptureSource", again: Again, remedies: Remedies
) -> Generator[Event, None, None]:
    began = time.monotonic()
    yield CheckStarted(property=prop.name, subject=source.facts.name)
    findings = (yield from checked(prop, source, again)) if plan.confirm else check(prop, source)
    findings = remedies.tried(prop, findings)
    findings = tuple(replace(finding, reproduce=plan.reproduce(finding.id)) for finding in findings)
    yield CheckFinished(property=prop.name, subject=source.facts.name, findings=findings, seconds=time.monotonic() - began)
