"""The pytest plugin: ``pytest --gradcheck TARGET``, and property files as tests. Loading it imports nothing heavy.

One item is one ``engine.check``; its findings travel as JSON in ``report.user_properties``, which survives xdist and crashed
workers. The report is folded from them where the session ends.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradcheck_suite.core.events import Event
    from gradcheck_suite.core.finding import Finding
    from gradcheck_suite.core.property import Property

FINDINGS = "gradcheck_findings"
_FOLDER = "reports"
_SIGNATURE = b"PROPERTY = Property("


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("gradcheck", "gradcheck_suite: gradient diagnostics")
    add = group.addoption
    add("--gradcheck", action="append", default=[], metavar="TARGET", help="audit pkg.module:factory (repeatable)")
    add("--gradcheck-input", action="append", default=[], metavar="SPEC", help="inputs of the targets, such as 4x3x32x32 (repeatable)")
    add("--gradcheck-select", action="append", default=[], metavar="WORD", help="property ids, families or symptoms (repeatable)")
    add("--gradcheck-ignore", action="append", default=[], metavar="WORD", help="property ids, families or symptoms to leave out")
    add("--gradcheck-budget", default="standard", choices=("quick", "standard", "thorough"), help="size of the run")
    add("--gradcheck-seed", type=int, default=0, help="seed of everything random")
    add("--gradcheck-isolation", default="process", choices=("process", "none"), help="run models in child processes, or here")
    add("--gradcheck-report", action="append", default=[], choices=("html", "json"), help="write a report at the end (repeatable)")
    add("--gradcheck-output-dir", default=_FOLDER, metavar="DIR", help="where reports go")


def pytest_configure(config: pytest.Config) -> None:
    """Collect findings where the session's reports arrive: in the controller, or in a run without workers."""
    if not hasattr(config, "workerinput") and (config.getoption("gradcheck") or config.getoption("gradcheck_report")):
        config.pluginmanager.register(Recorder(config), "gradcheck-recorder")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the targets, before ``-k`` and ``-m`` choose."""
    targets = config.getoption("gradcheck")
    if targets:
        items.extend(audit_items(session, config, list(dict.fromkeys(targets))))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A property file is a test file: its items are the contract that every property keeps."""
    if file_path.suffix != ".py" or file_path.name.startswith(("test_", "conftest", "__")) or file_path.name.endswith("_test.py"):
        return None
    try:
        if _SIGNATURE not in file_path.read_bytes():
            return None
    except OSError:
        return None
    collector: pytest.Collector = PropertyFile.from_parent(parent, path=file_path)
    return collector


class PropertyFile(pytest.File):
    """A file of the catalogue, or of a user's own."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item per clause of the contract."""
        from gradcheck_suite import catalogue, contract
        from gradcheck_suite.core.errors import UsageError

        try:
            prop = catalogue.load(catalogue.read(self.path))
        except UsageError as error:
            raise self.CollectError(str(error)) from None
        for name in contract.clauses(prop):
            yield ContractItem.from_parent(self, name=name, prop=prop)


class ContractItem(pytest.Item):
    """One clause of the contract, on one property."""

    def __init__(self, *, prop: "Property", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._property = prop

    def runtest(self) -> None:
        """Check the clause.

        Raises:
            BrokenClause: it does not hold.
        """
        from gradcheck_suite import contract

        contract.verify(self._property, self.name)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A broken clause is its message; anything else is a traceback."""
        from gradcheck_suite.contract import BrokenClause

        return str(excinfo.value) if isinstance(excinfo.value, BrokenClause) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Path, line, name."""
        return self.path, 0, f"{self._property.name}: {self.name}"


def audit_items(session: pytest.Session, config: pytest.Config, targets: list[str]) -> list[pytest.Item]:
    """One item per target and selected property.

    Raises:
        UsageError: pytest's own, with our message, for a bad target or word.
    """
    from gradcheck_suite.api import Shared, opener, selected
    from gradcheck_suite.core.errors import UsageError
    from gradcheck_suite.targets import Options, parse

    option = config.getoption
    options = Options(inputs=tuple(option("gradcheck_input")))
    items: list[pytest.Item] = []
    try:
        chosen = selected(option("gradcheck_select"), option("gradcheck_ignore"))
        for text in targets:
            shared = Shared(opener(parse(text), options, *map(option, ("gradcheck_budget", "gradcheck_seed", "gradcheck_isolation"))))
            node = AuditNode.from_parent(session, name=f"gradcheck::{text}", nodeid=f"gradcheck::{text}")
            config.add_cleanup(shared.close)
            items.extend(AuditItem.from_parent(node, name=prop.name, prop=prop, shared=shared) for prop in chosen)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    return items


class AuditNode(pytest.Collector):
    """A target, as the parent of its checks."""

    def collect(self) -> list[pytest.Item]:
        """Nothing: the items are added where targets are."""
        return []


class Violated(Exception):
    """The findings of a check fail; the text is what the user sees."""


class AuditItem(pytest.Item):
    """One property on one target."""

    def __init__(self, *, prop: "Property", shared: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._property, self._shared = prop, shared

    def runtest(self) -> None:
        """Check; fail on errors and violated requirements, skip with the reason where it is not applicable.

        Raises:
            Violated: the findings fail.
        """
        from dataclasses import replace

        from gradcheck_suite.core.errors import UsageError
        from gradcheck_suite.core.evidence import Verdict
        from gradcheck_suite.core.report import fails
        from gradcheck_suite.core.serialize import to_data
        from gradcheck_suite.core.text import finding_text
        from gradcheck_suite.engine.check import check

        try:
            findings = check(self._property, self._shared.source)
        except UsageError as error:
            raise Violated(str(error)) from None
        findings = tuple(replace(finding, reproduce=self._replay(finding.id)) for finding in findings)
        self.user_properties.append((FINDINGS, to_data(list(findings))))
        bad = [finding for finding in findings if fails(finding)]
        if bad:
            raise Violated("\n\n".join(map(finding_text, bad)))
        if all(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
            pytest.skip(findings[0].reason)

    def _replay(self, finding: str) -> str:
        folder = self.config.getoption("gradcheck_output_dir")
        return f"gradcheck replay {finding}" + ("" if folder == _FOLDER else f" --output-dir {shlex.quote(folder)}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings, without a traceback of ours."""
        return str(excinfo.value) if isinstance(excinfo.value, Violated) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands and what it is called."""
        return Path(self.nodeid.partition("::")[0]), None, f"{self.parent.name if self.parent else ''}::{self.name}"


class Recorder:
    """Gathers findings as reports arrive; when the session ends, stores what failed for ``gradcheck replay``, and writes the report."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._checks: dict[str, tuple[Finding, ...]] = {}
        self._written: list[Path] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the findings of a finished check; a check that ended without any is an error of its own."""
        from gradcheck_suite.core.finding import Finding
        from gradcheck_suite.schema import load

        if not report.nodeid.startswith("gradcheck::"):
            return
        for name, data in report.user_properties:
            if name == FINDINGS and isinstance(data, list):
                self._checks[report.nodeid] = tuple(load(Finding, item) for item in data)
        if report.failed and report.nodeid not in self._checks:
            self._checks[report.nodeid] = (_lost(report),)

    def pytest_sessionfinish(self) -> None:
        """Write the report in the forms asked for; without any, what failed is stored all the same."""
        from gradcheck_suite.core.report import fails, fold

        forms = self._config.getoption("gradcheck_report")
        if not self._checks or not (forms or any(fails(finding) for findings in self._checks.values() for finding in findings)):
            return
        events = self._events()
        report = fold(events)
        folder = Path(self._config.getoption("gradcheck_output_dir")) / report.run.id
        self._store(events, folder)
        if forms:
            self._written.append(report.to_json(folder / "report.json"))
        if "html" in forms:
            self._written.append(report.to_html(folder / "report.html"))

    def _store(self, events: "list[Event]", folder: Path) -> None:
        from gradcheck_suite.engine.store import Store

        option = self._config.getoption
        given = {"folder": str(Path.cwd()), "inputs": list(option("gradcheck_input")), "targets": "", "loss": "", "mode": "",
                 "isolation": option("gradcheck_isolation"), "properties": []}
        store = Store(folder, {target: {"target": target, **given} for target in option("gradcheck")})
        for event in events:
            store.handle(event)
        store.close()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the report is."""
        for path in self._written:
            terminalreporter.write_line(f"gradcheck report: {path}")

    def _events(self) -> "list[Event]":
        from gradcheck_suite.core.events import CheckFinished, CheckStarted, RunFinished, RunStarted, SubjectFacts, SubjectStarted
        from gradcheck_suite.engine.run import described

        option = self._config.getoption
        facts = described(("pytest", *self._config.invocation_params.args), option("gradcheck_seed"), option("gradcheck_budget"),
                          len(self._checks))
        events: list[Event] = [RunStarted(run=facts)]
        events += [SubjectStarted(subject=SubjectFacts(name=target, target=target)) for target in option("gradcheck")]
        for nodeid, findings in sorted(self._checks.items()):
            name, subject = nodeid.rpartition("::")[2], findings[0].subject
            events += [CheckStarted(property=name, subject=subject), CheckFinished(property=name, subject=subject, findings=findings)]
        return [*events, RunFinished(seconds=0.0)]


def _lost(report: pytest.TestReport) -> "Finding":
    """The finding of a check whose process ended without a verdict."""
    from gradcheck_suite.core.evidence import Level, Verdict
    from gradcheck_suite.core.finding import Finding, finding_id

    target, _, name = report.nodeid.removeprefix("gradcheck::").rpartition("::")
    family, _, prop = name.partition("/")
    reason = str(report.longrepr)[-2000:] or "the test ended without a verdict"
    return Finding(id=finding_id(name, target, "lost"), property=prop, family=family, level=Level.REQUIREMENT, symptoms=(),
                   subject=target, verdict=Verdict.ERROR, message=f"{prop}: error: the check ended without a verdict", reason=reason)
