"""Calibration: how often each stochastic property is wrong on true cases, and how often it finds what it should.

    python -m benchmarks.calibrate [--cases 3000] [--controls 100] [--only id ...] [--output docs/calibration.md] [--results file]

Every batch of repetitions is written down at once, in the results file and in the page: an interrupted run goes on where it ended, and
a trial is measured again when its definition changes, or after its row was deleted from the results file.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scipy.stats import beta

from benchmarks.trials import TRIALS, Trial
from gradcheck_suite import catalogue
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.budget import BUDGETS, Budget
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.property import Property
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.sources import LocalSource

NOMINAL = (0.01, 0.001)
PASSES = (0.1, 0.4, 1.0)
"""Parts of the repetitions after which the next trial has its turn: an interrupted run has something of every property."""
BATCH = 10
METHOD = """\
A true case is a network for which the property's law holds, initialised afresh for every repetition; the property sees it through the
engine, as in an audit. A rate of 10⁻⁶, at which the standard budget works, cannot be measured: the same draws are judged at nominal
rates of 0.01 and of 0.001 instead. Properties whose interval follows `alpha` are given that alpha. Properties that need two deviating
halves, each at a fixed rate, are read off their evidence at the level that a half passes with the root of the nominal rate. Where the
interval contains a margin besides chance there is no nominal rate: the property judges as it does in an audit. Intervals are those of
Clopper and Pearson at 95 %. Every row says how many repetitions it has: the command goes on where the last run ended, up to 3000 for
trials whose draws are cheap."""


@dataclass(frozen=True, slots=True)
class Count:
    """k of n repetitions."""

    hits: int
    of: int

    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval at 95 %."""
        low = 0.0 if self.hits == 0 else float(beta.ppf(0.025, self.hits, self.of - self.hits + 1))
        high = 1.0 if self.hits == self.of else float(beta.ppf(0.975, self.hits + 1, self.of - self.hits))
        return low, high

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.hits}/{self.of} ({low:.2g} to {high:.2g})"


@dataclass(slots=True)
class Row:
    """What was measured for a trial so far. ``rejected`` has one number per nominal rate."""

    cases: int = 0
    rejected: list[int] = field(default_factory=lambda: [0] * len(NOMINAL))
    undecided: int = 0
    controls: int = 0
    found: int = 0

    def false_alarms(self, nominal: float) -> Count:
        """Rejected true cases at one of the nominal rates."""
        return Count(self.rejected[NOMINAL.index(nominal)], self.cases)

    @property
    def power(self) -> Count:
        """Controls found."""
        return Count(self.found, self.controls)


@dataclass(slots=True)
class Repetitions:
    """A source of captures in which one probe runs anew for every repetition.

    Draws of initialisations are made a batch of repetitions at a time and dealt out: they are independent, and one pass over the
    network's structure serves them all.
    """

    trial: Trial
    architecture: Architecture
    budget: Budget
    alpha: float = 0.0
    index: int = 0
    base: LocalSource = field(init=False)
    block: tuple[int, Sequence[Any]] = (-1, ())

    def __post_init__(self) -> None:
        self.base = LocalSource(subject(self.architecture), self.budget, 0)

    @property
    def facts(self) -> SubjectFacts:
        """Of the network."""
        return self.base.facts

    def capture(self, probe: str) -> Any:
        """What the probe saw in this repetition, at this alpha."""
        if probe != self.trial.fresh:
            return self.base.capture(probe)
        number, place = divmod(self.index, BATCH)
        if self.block[0] != number:
            self.block = (number, tuple(self._block(number)))
        seen = self.block[1][place]
        return replace(seen, alpha=self.alpha) if hasattr(seen, "alpha") else seen

    def prefetch(self, probes: Sequence[str]) -> None:
        """Nothing to save in one process."""

    def close(self) -> None:
        """Nothing was started."""

    def _block(self, number: int) -> Iterator[Any]:
        one = subject(self.architecture)
        if self.trial.fresh == "gradient_norm_draws":
            many = replace(self.budget, draws=self.budget.draws * BATCH)
            source = LocalSource(one, many, derive(number, self.trial.property, repr(self.architecture)))
            yield from source.capture(self.trial.fresh).parts(self.budget.draws)
            return
        for place in range(BATCH):
            source = LocalSource(one, self.budget, derive(number, place, self.trial.property, repr(self.architecture)))
            yield source.capture(self.trial.fresh)


def measure(trial: Trial, row: Row, cases: int, controls: int) -> Iterator[Row]:
    """Add repetitions to a row until it has ``cases`` and ``controls``; the row is handed out after every batch."""
    prop = next(catalogue.load(entry) for entry in catalogue.entries() if entry.id == trial.property)
    standard = BUDGETS["standard"]
    source = Repetitions(trial, trial.true, replace(standard, draws=trial.draws))
    while row.cases < cases:
        for source.index in range(row.cases, min(cases, (row.cases // BATCH + 1) * BATCH)):
            judged = _at_nominal_rates(prop, source)
            row.rejected = [hits + one.rejected for hits, one in zip(row.rejected, judged, strict=True)]
            row.undecided += judged[-1].undecided
            row.cases += 1
        yield row
    source = Repetitions(trial, trial.false, standard)
    while row.controls < controls:
        for source.index in range(row.controls, min(controls, (row.controls // BATCH + 1) * BATCH)):
            row.found += _judged(_findings(prop, source, standard.alpha), None).violated
            row.controls += 1
        yield row


@dataclass(frozen=True, slots=True)
class Outcome:
    """One repetition: rejected at the nominal rate, violated by the property's own verdict, or neither that nor holding."""

    rejected: bool
    violated: bool
    undecided: bool


def _at_nominal_rates(prop: Property, source: Repetitions) -> list[Outcome]:
    """One outcome per nominal rate. Where alpha plays no part the property measures once."""
    trial = source.trial
    if not trial.margin and trial.limit is None:
        return [_judged(_findings(prop, source, nominal), None) for nominal in NOMINAL]
    findings = _findings(prop, source, source.budget.alpha)
    return [_judged(findings, trial.limit(nominal) if trial.limit else None) for nominal in NOMINAL]


def _findings(prop: Property, source: Repetitions, alpha: float) -> tuple[Finding, ...]:
    source.alpha = alpha
    return check(prop, source)


def _judged(findings: tuple[Finding, ...], limit: float | None) -> Outcome:
    verdicts = {finding.verdict for finding in findings}
    values = [finding.evidence.value for finding in findings if finding.evidence is not None]
    violated = Verdict.VIOLATED in verdicts
    rejected = violated if limit is None else any(value > limit for value in values)
    return Outcome(rejected, violated, not verdicts & {Verdict.VIOLATED, Verdict.HOLDS})


def page(rows: Sequence[tuple[Trial, Row]]) -> str:
    """The measurements as a page of Markdown."""
    measured = [(trial, row) for trial, row in rows if row.cases]
    lines = [
        "# Calibration", "", "    python -m benchmarks.calibrate", "", " ".join(METHOD.split()), "",
        f"Power is the share of repetitions in which the standard budget ({BUDGETS['standard'].draws} draws, alpha "
        f"{BUDGETS['standard'].alpha:g}) finds the planted error.", "", conclusion(measured), "",
        "| property | true case | draws | false alarms at 0.01 | at 0.001 | undecided | planted error | power |", "|---" * 8 + "|",
    ]
    for trial, row in measured:
        own = ("margin", row.false_alarms(NOMINAL[-1])) if trial.margin else [row.false_alarms(nominal) for nominal in NOMINAL]
        cells = (f"`{trial.property}`", told(trial.true), trial.draws, *own, row.undecided, told(trial.false), row.power)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def conclusion(rows: Sequence[tuple[Trial, Row]]) -> str:
    """What the page says in two sentences: computed from the counts."""
    nominal = NOMINAL[-1]
    lawful = [(trial, row.false_alarms(nominal)) for trial, row in rows if not trial.margin]
    worst = max((count.hits / count.of for _, count in lawful), default=0.0)
    high = [trial.property for trial, count in lawful if count.interval()[0] > 2 * nominal]
    margins = Count(sum(row.rejected[-1] for trial, row in rows if trial.margin), sum(row.cases for trial, row in rows if trial.margin))
    total = Count(sum(count.hits for _, count in lawful), sum(count.of for _, count in lawful))
    return (f"**Outcome.** Nominal rate 0.001: {total} false alarms over all trials, the highest rate of one trial {worst:.2g}"
            + "; above twice the nominal rate beyond doubt: " + (", ".join(high) or "none") + f". Properties with a margin: {margins}.")


def told(architecture: Architecture) -> str:
    """An architecture in a few words."""
    kinds = list(dict.fromkeys(inner.kind for _, inner in architecture.walk()))
    faults = ", ".join(f"{defect.kind} {defect.strength:.3g} in {defect.module}" for defect in architecture.defects[:3])
    more = f" and {len(architecture.defects) - 3} more" if len(architecture.defects) > 3 else ""
    width = max((int(str(dict(layer.options).get("units", 0))) for _, layer in architecture.walk()), default=0)
    words = [f"{len(architecture.layers)} layers" + (f" of width {width}" if width else ""), "/".join(kinds), architecture.initialization,
             faults + more]
    return ", ".join(word for word in words if word)


def key(trial: Trial) -> str:
    """What a row belongs to: the trial's definition."""
    limit = trial.limit.__name__ if trial.limit else ""
    return f"{trial.property} {derive(0, repr(trial.true), repr(trial.false), trial.draws, trial.fresh, limit, trial.margin):x}"


def read(path: Path) -> list[tuple[Trial, Row]]:
    """Every trial with what the results file holds of it."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return [(trial, Row(**known.get(key(trial), {}))) for trial in TRIALS]


def write(rows: Sequence[tuple[Trial, Row]], results: Path, output: Path) -> None:
    """The results file and the page, each replaced as a whole."""
    for path, text in ((results, json.dumps({key(trial): asdict(row) for trial, row in rows}, indent=1) + "\n"), (output, page(rows))):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--controls", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=Path("docs/calibration.md"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/calibration.json"))
    given = parser.parse_args(arguments)
    rows = read(given.results)
    for part in PASSES:
        for trial, row in rows:
            if given.only and trial.property not in given.only:
                continue
            cases, controls = (max(1, round(count * trial.share * part)) for count in (given.cases, given.controls))
            for _ in measure(trial, row, cases, controls):
                write(rows, given.results, given.output)
            alarms = ", ".join(str(row.false_alarms(nominal)) for nominal in NOMINAL)
            print(f"{trial.property}: false alarms {alarms}, power {row.power}", flush=True)


if __name__ == "__main__":
    main()
