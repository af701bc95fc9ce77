"""A pytest session: what it was asked, what it found, and the report at its end. Loading this imports no torch and no numpy."""

import datetime
import shlex
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradcheck_suite.core.evidence import Level

if TYPE_CHECKING:
    from gradcheck_suite.commands.checking import Choice, Opening
    from gradcheck_suite.core.events import Event, SubjectFacts
    from gradcheck_suite.core.finding import Finding

FINDINGS = "gradcheck_findings"
PREFIX = "gradcheck::"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a session was asked: its options before ``[tool.gradcheck_suite]``, and this before the defaults.

    ``replay`` makes the command that runs a finding again, from the finding's id.
    """

    openings: "tuple[Opening, ...]"
    choice: "Choice"
    folder: Path
    fail_on: Level
    replay: Callable[[str], str]


def asked(option: Callable[[str], Any]) -> Asked:
    """The options of a session and the configuration, as the command line's own planning reads them.

    Args:
        option: gives the value of an option without its ``gradcheck_``, as ``pytest.Config.getoption`` does.

    Raises:
        UsageError: a target, a word or the configuration is not what is allowed.
    """
    from gradcheck_suite.commands import checking
    from gradcheck_suite.config import read

    config = read(Path.cwd())
    words = (option("gradcheck_select"), option("gradcheck_ignore"))
    folders = tuple(map(Path, option("gradcheck_properties")))
    choice = checking.choice_of(config, words, option("gradcheck_budget"), option("gradcheck_seed"), folders)
    modes = {"": ("",), "both": ("train", "eval")}.get(option("gradcheck_mode"), (option("gradcheck_mode"),))
    isolation = checking.Isolation(kind=option("gradcheck_isolation") or config.isolation, memory_mib=config.memory_mib,
                                   timeout=option("gradcheck_timeout") or config.timeout)
    request = checking.AuditRequest(
        targets=tuple(option("gradcheck")), inputs=tuple(option("gradcheck_input")), target_values=option("gradcheck_targets"),
        loss=option("gradcheck_loss"), modes=modes, isolation=isolation)
    given = option("gradcheck_output_dir")
    folder = Path(given) if given else config.output_dir
    elsewhere = "" if folder == config.output_dir else f" --output-dir {shlex.quote(str(folder))}"
    openings = checking.openings(request, choice, config) if request.targets else ()
    return Asked(openings=openings, choice=choice, folder=folder, fail_on=Level(option("gradcheck_fail_on") or config.fail_on),
                 replay=lambda finding: f"gradcheck replay {finding}{elsewhere}")


class IndicatorWarning(UserWarning):
    """An indicator is violated: a candidate cause, which does not fail the test by itself."""


def conclude(findings: "Sequence[Finding]", fail_on: Level) -> None:
    """End a test as its findings say, so that nothing passes in silence.

    It fails on errors and on violations of the levels that fail. Other violations are an ``IndicatorWarning``. Where a finding is
    inconclusive the test is skipped with the finding's text, where all are not applicable with the unmet condition.
    """
    from gradcheck_suite.core.evidence import Verdict
    from gradcheck_suite.core.report import fails
    from gradcheck_suite.core.text import finding_text

    __tracebackhide__ = True
    bad = [finding for finding in findings if fails(finding, fail_on)]
    warned = [finding for finding in findings if finding.verdict is Verdict.VIOLATED and not fails(finding, fail_on)]
    undecided = [finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE and not fails(finding, fail_on)]
    if warned:
        warnings.warn(IndicatorWarning("\n\n".join(map(finding_text, warned))), stacklevel=2)
    if bad:
        pytest.fail("\n\n".join(map(finding_text, bad)), pytrace=False)
    if undecided:
        pytest.skip("\n\n".join(map(finding_text, undecided)))
    if all(finding.verdict is Verdict.NOT_APPLICABLE for finding in findings):
        pytest.skip(findings[0].reason)


class Recorder:
    """Gathers findings as reports arrive; when the session ends, stores what failed for ``gradcheck replay``, and writes the report."""

    def __init__(self, config: pytest.Config, plan: Asked) -> None:
        self._config, self._asked = config, plan
        self._began, self._clock = datetime.datetime.now(datetime.UTC), time.monotonic()
        self._planned: set[str] = set()
        self._ended: set[str] = set()
        self._seconds: dict[str, float] = {}
        self._checks: dict[str, tuple[Finding, ...]] = {}
        self._written: list[Path] = []
        self.subjects: dict[str, SubjectFacts] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The checks that were selected, in a session without workers."""
        self._planned.update(item.nodeid for item in session.items if item.nodeid.startswith(PREFIX))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The checks that were selected, as a worker tells them."""
        self._planned.update(name for name in ids if name.startswith(PREFIX))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the findings of a finished check; a check that ended without any is an error of its own."""
        from gradcheck_suite.core.finding import Finding
        from gradcheck_suite.schema import load

        name = report.nodeid
        if not name.startswith(PREFIX):
            return
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        if report.when == "call" or not report.passed:
            self._ended.add(name)
        for key, data in report.user_properties:
            if key == FINDINGS and isinstance(data, list):
                self._checks[name] = tuple(load(Finding, item) for item in data)
        if report.failed and name not in self._checks:
            self._checks[name] = (_lost(report),)

    def pytest_sessionfinish(self) -> None:
        """Write the report in the forms asked for; without any, what failed is stored all the same."""
        from gradcheck_suite.core.report import fails, fold

        forms, level = self._config.getoption("gradcheck_report"), self._asked.fail_on
        failed = any(fails(finding, level) for findings in self._checks.values() for finding in findings)
        if not self._checks or not (forms or failed):
            return
        events = self._events()
        report = fold(events)
        folder = self._asked.folder / report.run.id
        self._store(events, folder)
        if forms:
            self._written.append(report.to_json(folder / "report.json"))
        if "html" in forms:
            self._written.append(report.to_html(folder / "report.html"))

    def _store(self, events: "list[Event]", folder: Path) -> None:
        from gradcheck_suite.engine.store import Store

        store = Store(folder, {opening.name: opening.case for opening in self._asked.openings})
        for event in events:
            store.handle(event)
        store.close()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the report is."""
        for path in self._written:
            terminalreporter.write_line(f"gradcheck report: {path}")

    def _events(self) -> "list[Event]":
        from gradcheck_suite.core.events import CheckFinished, CheckStarted, Note, RunFinished, RunStarted, SubjectFacts, SubjectStarted
        from gradcheck_suite.engine.run import described

        choice, planned = self._asked.choice, self._planned | self._checks.keys()
        unfinished = len(planned - self._ended)
        facts = described(("pytest", *self._config.invocation_params.args), choice.seed, choice.budget, len(planned))
        facts = replace(facts, started=self._began.isoformat(timespec="seconds"), fail_on=self._asked.fail_on)
        events: list[Event] = [RunStarted(run=facts)]
        for opening in self._asked.openings:
            known = SubjectFacts(name=opening.name, target=opening.name)
            events.append(SubjectStarted(subject=self.subjects.get(opening.name, known)))
        for nodeid, findings in sorted(self._checks.items()):
            subject, _, name = nodeid.removeprefix(PREFIX).rpartition("::")
            events += [CheckStarted(property=name, subject=subject),
                       CheckFinished(property=name, subject=subject, findings=findings, seconds=self._seconds.get(nodeid, 0.0))]
        if unfinished:
            events.append(Note(text=f"the session was stopped before {unfinished} of {len(planned)} checks had run"))
        return [*events, RunFinished(seconds=time.monotonic() - self._clock, interrupted=unfinished > 0)]


def _lost(report: pytest.TestReport) -> "Finding":
    """The finding of a check whose process ended without a verdict."""
    from gradcheck_suite.core.evidence import Verdict
    from gradcheck_suite.core.finding import Finding, finding_id

    target, _, name = report.nodeid.removeprefix(PREFIX).rpartition("::")
    family, _, prop = name.partition("/")
    reason = str(report.longrepr)[-2000:] or "the test ended without a verdict"
    return Finding(id=finding_id(name, target, "lost"), property=prop, family=family, level=Level.REQUIREMENT, symptoms=(),
                   subject=target, verdict=Verdict.ERROR, message=f"{prop}: error: the check ended without a verdict", reason=reason)
