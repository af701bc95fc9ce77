"""The pytest plugin: ``pytest --gradcheck TARGET``, and property files as tests. Loading it imports nothing heavy.

One item is one check, its violations measured a second time; its findings travel as JSON in ``report.user_properties``, which
survives xdist and crashed workers. The report is folded from them where the session ends (``commands.recording``).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradcheck_suite.api import Shared
    from gradcheck_suite.commands.recording import Asked
    from gradcheck_suite.core.property import Property

_ASKED = pytest.StashKey["Asked"]()
_SHARED = pytest.StashKey["dict[str, Shared]"]()
_RECORDER = "gradcheck-recorder"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own. What is not given is taken from ``[tool.gradcheck_suite]``, as for the command line."""
    group = parser.getgroup("gradcheck", "gradcheck_suite: gradient diagnostics")

    def add(name: str, text: str, **settings: Any) -> None:
        group.addoption(f"--gradcheck{name}", help=text, **settings)

    def several(name: str, text: str, metavar: str) -> None:
        add(name, f"{text} (repeatable)", action="append", default=[], metavar=metavar)

    several("", "audit pkg.module:factory, one test per property; violations are measured twice, remedies are not tried (gradcheck audit "
                "does that)", "TARGET")
    several("-input", "inputs of the targets, such as 4x3x32x32, or pkg.module:make", "SPEC")
    add("-targets", "what the loss compares with: a shape, or pkg.module:make", default="", metavar="SPEC")
    add("-loss", "pkg.module:loss, called as loss(output, targets)", default="", metavar="LOSS")
    add("-mode", "the mode of the models", default="", choices=("train", "eval", "both"))
    several("-select", "property ids, families or symptoms", "WORD")
    several("-ignore", "property ids, families or symptoms to leave out", "WORD")
    several("-properties", "further folder of properties", "DIR")
    add("-budget", "size of the run", choices=("quick", "standard", "thorough"))
    add("-seed", "seed of everything random", type=int)
    add("-isolation", "run models in child processes, or here", choices=("process", "none"))
    add("-timeout", "deadline of one experiment, in seconds", type=_seconds, metavar="SECONDS")
    add("-fail-on", "the lowest level whose violation fails a test; below it, it is a warning", choices=("requirement", "indicator"))
    add("-report", "write a report at the end (repeatable)", action="append", default=[], choices=("html", "json"))
    add("-output-dir", "where reports go", metavar="DIR")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds < float("inf"):
        raise ValueError(f"{text} is not 0.1 or more")
    return seconds


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is read of a session that asks for nothing."""
    config.stash[_SHARED] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Before workers start and anything is collected: every target is resolved once, and where one cannot be, nothing runs.

    Findings are gathered where the session's reports arrive: in the controller, or in a run without workers.

    Raises:
        UsageError: pytest's own, with our message, for a bad target, word or configuration.
    """
    config = session.config
    if hasattr(config, "workerinput") or not (config.getoption("gradcheck") or config.getoption("gradcheck_report")):
        return
    from gradcheck_suite.commands.recording import Recorder
    from gradcheck_suite.core.errors import GradcheckError

    recorder = Recorder(config, _asked(config))
    broken = []
    for name, shared in _opened(config).items():
        try:
            recorder.subjects[name] = shared.source.facts
        except GradcheckError as error:
            broken.append(str(error))
        if broken or config.pluginmanager.hasplugin("dsession"):
            shared.close()
    if broken:
        raise pytest.UsageError("\n".join(broken))
    config.pluginmanager.register(recorder, _RECORDER)


def _asked(config: pytest.Config) -> "Asked":
    """What the session was asked, read once."""
    if _ASKED not in config.stash:
        from gradcheck_suite.commands.recording import asked
        from gradcheck_suite.core.errors import UsageError

        try:
            config.stash[_ASKED] = asked(config.getoption)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_ASKED]


def _opened(config: pytest.Config) -> "dict[str, Shared]":
    """One source of captures for each subject of the session, by its name; opened on first use, ended with the session."""
    from gradcheck_suite.api import Shared

    known = config.stash[_SHARED]
    for opening in _asked(config).openings:
        if opening.name not in known:
            known[opening.name] = Shared(opening.open)
            config.add_cleanup(known[opening.name].close)
    return known


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the targets, before ``-k`` and ``-m`` choose."""
    if config.getoption("gradcheck"):
        items.extend(audit_items(session, config))


def audit_items(session: pytest.Session, config: pytest.Config) -> list[pytest.Item]:
    """One item per subject and property that is selected for it.

    Raises:
        UsageError: pytest's own, with our message, for a bad target or word.
    """
    shared = _opened(config)
    items: list[pytest.Item] = []
    for opening in _asked(config).openings:
        name = f"gradcheck::{opening.name}"
        node = AuditNode.from_parent(session, name=name, nodeid=name)
        items.extend(AuditItem.from_parent(node, name=prop.name, prop=prop, shared=shared[opening.name]) for prop in opening.properties)
    return items


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A property file is a test file: its items are the contract that every property keeps."""
    if file_path.suffix != ".py":
        return None
    from gradcheck_suite.catalogue import is_property_file

    if not is_property_file(file_path):
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


class AuditNode(pytest.Collector):
    """A target, as the parent of its checks."""

    def collect(self) -> list[pytest.Item]:
        """Nothing: the items are added where targets are."""
        return []


class AuditItem(pytest.Item):
    """One property on one target."""

    def __init__(self, *, prop: "Property", shared: "Shared", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._property, self._shared = prop, shared

    def runtest(self) -> None:
        """Check, keep the findings for the report, and end as ``conclude`` says."""
        from dataclasses import replace

        from gradcheck_suite.commands.recording import FINDINGS, conclude
        from gradcheck_suite.core.errors import UsageError
        from gradcheck_suite.core.serialize import to_data

        plan = _asked(self.config)
        try:
            findings, notes = self._shared.check(self._property)
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        for note in notes:
            self.add_report_section("call", "gradcheck", note)
        findings = tuple(replace(finding, reproduce=plan.replay(finding.id)) for finding in findings)
        self.user_properties.append((FINDINGS, to_data(list(findings))))
        conclude(findings, plan.fail_on)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands and what it is called."""
        return Path(self.nodeid.partition("::")[0]), None, f"{self.parent.name if self.parent else ''}::{self.name}"
