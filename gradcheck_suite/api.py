"""The front doors as functions: ``audit``, ``assert_gradients``, ``parametrize``, ``check_gradient``."""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from gradcheck_suite.core.errors import UsageError, did_you_mean
from gradcheck_suite.core.events import Note
from gradcheck_suite.core.evidence import Level

if TYPE_CHECKING:
    from gradcheck_suite.core.finding import Finding
    from gradcheck_suite.core.property import Property
    from gradcheck_suite.core.report import Report
    from gradcheck_suite.engine.confirming import Again
    from gradcheck_suite.engine.sources import CaptureSource

GRADIENT_FAMILIES = ("correctness", "purity", "numerics")
_OPTIONS = ("kwargs", "targets", "loss", "optimizer", "select", "ignore", "budget", "seed", "isolation", "properties")


def audit(
    target: Any,
    inputs: Any = None,
    *,
    kwargs: Any = None,
    targets: Any = None,
    loss: Callable[..., Any] | str | None = None,
    optimizer: Callable[..., Any] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    budget: str = "standard",
    seed: int = 0,
    isolation: str = "none",
    properties: Sequence[Path] = (),
    **unknown: Never,
) -> "Report":
    """Check every selected property on one model.

    Args:
        target: a module, a factory of modules (called afresh, after seeding, for every draw), a ``Subject``, or a target
            string such as ``"pkg.module:factory"``.
        inputs: a tensor, a tuple of arguments, a mapping of keyword arguments, or a shape such as ``(8, 3, 32, 32)``.
        kwargs: keyword arguments beside ``inputs``.
        targets: what the loss compares the output with.
        loss: ``(output, targets) -> scalar``, or ``"pkg.module:loss"``; without one, all floating outputs are contracted with a
            random cotangent.
        optimizer: ``(parameters) -> Optimizer``.
        select: property ids, families or symptoms to check; all where empty.
        ignore: those to leave out.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.
        seed: of everything random.
        isolation: ``"none"`` runs in this process; ``"process"`` (target strings only) in child processes, which are given tensors,
            shapes and texts as they are, and functions by the name under which they can be imported.
        properties: further folders of properties.

    Returns:
        The report: ``findings``, ``summary``, ``ok``, ``to_json(path)``, ``to_html(path)``; shows itself in a notebook.

    Raises:
        UsageError: an argument is not what is allowed, or the target cannot be built.
    """
    from gradcheck_suite.targets import Settings

    _spelt(unknown, ("inputs", *_OPTIONS), "audit")
    given: Any = Settings(inputs=inputs, kwargs=kwargs, targets=targets, loss=loss, optimizer=optimizer)
    label = target if isinstance(target, str) else str(getattr(target, "__name__", type(target).__name__))
    chosen = selected(select, ignore, properties)
    with contextlib.ExitStack() as until_the_end:
        if isolation == "process" and isinstance(target, str):
            from gradcheck_suite.targets import parse
            from gradcheck_suite.targets.carried import options_of

            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="gradcheck-"))
            target, given = parse(target), options_of(given, Path(folder))
        return _report([opener(target, given, budget, seed, isolation)], chosen, ("audit", label), seed, budget)


def assert_gradients(model: Any, *inputs: Any, **options: Any) -> None:
    """Raise ``AssertionError`` unless the model's gradients are right: its text is the findings.

    Args:
        model: a module or a factory of modules.
        *inputs: the positional arguments of one call.
        **options: those of ``audit``; ``select`` is correctness, purity and numerics where it is not given.

    Raises:
        AssertionError: a requirement is violated, a check failed, or nothing could be decided.
    """
    from gradcheck_suite.core.text import finding_text, report_text

    _spelt(options, _OPTIONS, "assert_gradients")
    options.setdefault("select", GRADIENT_FAMILIES)
    report = audit(model, inputs if inputs else None, **options)
    if not report.ok:
        failures = report.failures()
        raise AssertionError("\n\n".join(map(finding_text, failures)) if failures else report_text(report))


def parametrize(target: Any, *, select: Sequence[str] = (), ignore: Sequence[str] = (), budget: str = "standard", seed: int = 0,
                fail_on: str = "requirement", **settings: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that gives a test one id per property; the test takes ``check`` and calls it.

    ``settings`` are ``inputs``, ``kwargs``, ``targets``, ``loss`` and ``optimizer``, as in ``audit``. A test fails on errors and
    violated requirements (with ``fail_on="indicator"`` on violated indicators as well, which are warnings otherwise). It is
    skipped, with the reason, where the model does not meet a property's conditions and where nothing could be decided.

    Raises:
        UsageError: an argument is not what is allowed.

    Example:
        >>> @parametrize(build_net, inputs=(8, 3, 32, 32), loss=cross_entropy)
        ... def test_net(check):
        ...     check()
    """
    import pytest

    from gradcheck_suite.targets import Settings

    _spelt(settings, tuple(Settings.__dataclass_fields__), "parametrize")
    if fail_on not in tuple(Level):
        raise UsageError(f"unknown level {fail_on!r}", allowed=", ".join(Level), instead='Write fail_on="indicator".')
    shared = Shared(opener(target, Settings(**settings), budget, seed, "none"))
    checks = [pytest.param(_Check(prop, shared, Level(fail_on)), id=prop.name) for prop in selected(select, ignore)]
    return pytest.mark.parametrize("check", checks)


class Shared:
    """One source of captures for many checks, and a second one that confirms violations; each opened on first use."""

    def __init__(self, open_source: Callable[[], "CaptureSource"]) -> None:
        self._open = open_source
        self._source: CaptureSource | None = None
        self._again: Again | None = None

    @property
    def source(self) -> "CaptureSource":
        """The source; the same one every time."""
        if self._source is None:
            self._source = self._open()
        return self._source

    def check(self, prop: "Property") -> "tuple[tuple[Finding, ...], tuple[str, ...]]":
        """The findings of one property, violations measured a second time, and what there is to note; as in a run."""
        from gradcheck_suite.engine.confirming import Again, checked

        self._again = self._again or Again(self._open)
        stream, notes = checked(prop, self.source, self._again), list[str]()
        while True:
            try:
                event = next(stream)
            except StopIteration as end:
                return end.value, tuple(notes)
            notes += [event.text] if isinstance(event, Note) else []

    def close(self) -> None:
        """End what the sources started; they open anew where they are used again."""
        for opened in (self._source, self._again):
            if opened is not None:
                opened.close()
        self._source = self._again = None


class _Check:
    """What a parametrized test calls."""

    def __init__(self, prop: "Property", shared: Shared, fail_on: Level) -> None:
        self._property, self._shared, self._fail_on = prop, shared, fail_on

    def __call__(self) -> None:
        from gradcheck_suite.commands.recording import conclude

        __tracebackhide__ = True
        findings, notes = self._shared.check(self._property)
        for note in notes:
            print(f"gradcheck: {note}")
        conclude(findings, self._fail_on)

    def __repr__(self) -> str:
        return self._property.name


def _spelt(options: Mapping[str, Any], known: tuple[str, ...], function: str) -> None:
    """Raise ``UsageError`` with the closest name where an option is not one of the known."""
    for name in options:
        if name not in known:
            raise UsageError(f"{function} has no option {name!r}",
                             instead=f"{did_you_mean(name, known)}Allowed: {', '.join(sorted(known))}")


def selected(select: Sequence[str] = (), ignore: Sequence[str] = (), folders: Sequence[Path] = ()) -> "tuple[Property, ...]":
    """The properties that these words choose from the catalogue and further folders.

    Raises:
        UsageError: a word or a folder is unknown, or a file cannot be loaded.
    """
    from gradcheck_suite import catalogue

    return tuple(map(catalogue.load, catalogue.choose(catalogue.entries(folders), select, ignore)))


def opener(target: Any, settings: Any, budget: str, seed: int, isolation: str) -> "Callable[[], CaptureSource]":
    """A function that opens a fresh source of captures of the target, in this process or isolated.

    Args:
        target: what ``audit`` takes, or a parsed ``Target``.
        settings: ``targets.Settings`` for an object, ``targets.Options`` for a parsed ``Target``.
        budget: its name.
        seed: of the run.
        isolation: ``"none"`` or ``"process"``.

    Raises:
        UsageError: isolation asked for a target that is not a string, or a name is unknown.
    """
    from gradcheck_suite.core import budget as budgets
    from gradcheck_suite.engine import sources
    from gradcheck_suite.targets import Target, resolve, subject_of

    size = budgets.budget(budget)
    if isolation == "none":
        subject = resolve(target, settings) if isinstance(target, Target) else subject_of(target, settings)
        return lambda: sources.LocalSource(subject, size, seed)
    if isolation != "process":
        raise UsageError(f"unknown isolation {isolation!r}", allowed="none, process", instead='Write isolation="process".')
    if not isinstance(target, Target):
        raise UsageError(f"isolation needs a target string, got {type(target).__name__}", instead='Write "pkg.module:factory".')
    return lambda: sources.ChildSource(target, settings, size, seed, sources.Limits())


def _report(openers: "list[Callable[[], CaptureSource]]", properties: "tuple[Property, ...]", command: tuple[str, ...], seed: int,
            budget: str) -> "Report":
    from gradcheck_suite.engine.run import Plan, described, run
    from gradcheck_suite.engine.session import collect

    plan = Plan(tuple(openers), properties, reproduce=lambda _id: "run the same call again with the same seed")
    report, stopped = collect(run(plan, described(command, seed, budget, len(openers) * len(properties))))
    if stopped:
        raise KeyboardInterrupt
    return report


def check_gradient(f: Callable[..., Any], grad_f: Callable[..., Any], x: Any, *, seed: int = 0, name: str | None = None,
                   budget: str = "standard") -> "Report":
    """Compare a hand-written NumPy gradient with the derivative; needs no torch.

    Layers, networks of layers, (forward, backward) pairs and update steps: see ``gradcheck_suite.handwritten``.

    Args:
        f: a function of one argument that returns a number or an array of floats.
        grad_f: ``grad_f(x)``, the gradient in the structure of ``x``; where ``f`` returns an array, ``grad_f(x, cotangent)``, the
            gradient of the sum of cotangent * f(x).
        x: an array of floats, or a tuple, list or dict of arrays, nested or not; it is copied.
        seed: of random directions and cotangents.
        name: of the function in the report.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.

    Returns:
        The report: ``findings``, ``summary``, ``ok``, ``to_json(path)``, ``to_html(path)``.

    Raises:
        UsageError: an argument, or what a function returns, is not what is allowed.
    """
    from gradcheck_suite.handwritten import check_gradient as check

    return check(f, grad_f, x, seed=seed, name=name, budget=budget)
