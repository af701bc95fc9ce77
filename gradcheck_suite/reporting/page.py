"""What the page says, as data: which findings are shown in full, which in a row, which only counted. Drawing it is the template's."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.causes import folded
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import GENERATED, Finding
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.text import Headline, first_cause, headline, kinds
from gradcheck_suite.reporting.cards import MOST_CHARTS, Card, Charts, Picture, card, pictures
from gradcheck_suite.reporting.numbers import plain

MOST_CARDS: Final = 40  # in the page
FEW: Final = 5  # findings of one property that are all shown in full; of more, only the first three
MOST_CARDS_IN_GROUP: Final = 3
MOST_ROWS: Final = 50  # of one group, family or list
MOST_REASONS: Final = 100


@dataclass(frozen=True, slots=True)
class Group:
    """The findings of one property with one verdict: some in full, some in a row each, ``hidden`` more in report.json only."""

    property: str
    family: str
    statement: str
    symptoms: tuple[str, ...]
    count: int
    subjects: int
    cards: tuple[Card, ...]
    rows: tuple[Finding, ...]
    hidden: int


@dataclass(frozen=True, slots=True)
class Section:
    """Findings of one urgency."""

    anchor: str
    title: str
    hint: str
    verdict: Verdict
    groups: tuple[Group, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Family:
    """What holds in one family."""

    name: str
    count: int
    places: int
    rows: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition that is not met, and the properties that wait for it, each with its number of subjects."""

    reason: str
    properties: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One count at the top of the page; ``tone`` is a class of the style sheet, ``anchor`` where it leads."""

    label: str
    sign: str
    tone: str
    count: int
    anchor: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on the page, in order of reading."""

    report: Report
    headline: Headline
    cause: str
    links: tuple[tuple[str, str], ...]
    tally: tuple[Tile, ...]
    sections: tuple[Section, ...]
    pictures: tuple[Picture, ...]
    families: tuple[Family, ...]
    unmet: tuple[Unmet, ...]
    unmet_hidden: int
    subjects: tuple[SubjectFacts, ...]
    facts: tuple[tuple[str, str], ...]


_SECTIONS: Final = (
    ("requirements", "Violated requirements", "Exact statements about gradients that this model breaks. Each fails the build.",
     Verdict.VIOLATED, Level.REQUIREMENT),
    ("errors", "Errors", "The subject failed before anything could be measured. An error is never a pass.", Verdict.ERROR, None),
    ("indicators", "Violated indicators", "Candidate causes: warnings by themselves, worth reading beside a violated requirement.",
     Verdict.VIOLATED, Level.INDICATOR),
    ("inconclusive", "Inconclusive", "Nothing could be decided either way; each says why.", Verdict.INCONCLUSIVE, None),
)
_SEARCHED: Final = "Statements that a generated network breaks, each with the smallest such network found and a script that shows it."
_FAILING: Final = "Candidate causes, which fail this run: it was asked to fail on indicators."


def page(report: Report, *, draw: bool = True) -> Page:
    """The page of a report, with its charts or without. Whatever the report's size, it stays readable: what is left out is counted."""
    names = _Anchors()
    shelf = _Shelf(Charts("chart", MOST_CHARTS if draw else 0), names, [MOST_CARDS], kinds(report))
    sections = tuple(section for entry in _SECTIONS if (section := _section(entry, report, shelf)) is not None)
    first = sections[0].anchor if sections else ""
    unmet = _unmet(report)
    line = headline(report)
    return Page(
        report=report, headline=line, cause=first_cause(report), links=_links(line, sections, first), tally=_tally(report, sections),
        sections=sections, pictures=pictures(report.findings, names.known) if draw else (), families=tuple(_families(report)),
        unmet=tuple(unmet[:MOST_REASONS]), unmet_hidden=max(0, len(unmet) - MOST_REASONS), subjects=report.subjects[:MOST_ROWS],
        facts=_facts(report),
    )


def _tally(report: Report, sections: tuple[Section, ...]) -> tuple[Tile, ...]:
    """The counts of report.json, and of the violated findings how many are indicators."""
    violated = [finding for finding in report.findings if finding.verdict is Verdict.VIOLATED]
    indicators = sum(finding.level is Level.INDICATOR for finding in violated)
    first = next((section.anchor for section in sections if section.verdict is Verdict.VIOLATED), "")
    last = next((section.anchor for section in reversed(sections) if section.verdict is Verdict.VIOLATED), "")
    tone = "indicator" if len(violated) == indicators and report.run.fail_on is Level.REQUIREMENT else "violated"
    counts = report.summary
    return (
        Tile("violated", "✕", tone, len(violated), first), Tile("indicators among them", "△", "indicator", indicators, last),
        Tile("error", "!", "error", counts.get("error", 0), "errors"),
        Tile("inconclusive", "?", "inconclusive", counts.get("inconclusive", 0), "inconclusive"),
        Tile("holds", "✓", "holds", counts.get("holds", 0), "holds"),
        Tile("not applicable", "–", "not-applicable", counts.get("not-applicable", 0), "unchecked"),
    )


class _Anchors:
    """Ids of findings as ids of the page: plain and unique, whatever a finding calls itself."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self._used: set[str] = set()

    def of(self, finding: Finding) -> str:
        """The anchor of a finding that is shown in full."""
        name = f"finding-{finding.id}" if re.fullmatch(r"[A-Za-z0-9]{1,40}", finding.id) else f"finding-{len(self._used)}-"
        while name in self._used:
            name += "-again"
        self._used.add(name)
        self.known[id(finding)] = name
        return name


_Entry = tuple[str, str, str, Verdict, Level | None]


_Pair = tuple[Finding, tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What cards are made with: room for charts and for cards, names for anchors, the classes of modules."""

    charts: Charts
    names: _Anchors
    room: list[int]
    known: dict[tuple[str, str], str]

    def card(self, pair: _Pair) -> Card:
        finding, under = pair
        return card(finding, self.names.of(finding), self.charts, under, self.known)


def _section(entry: _Entry, report: Report, shelf: _Shelf) -> Section | None:
    anchor, title, hint, verdict, level = entry
    chosen = [pair for pair in folded(report.findings) if pair[0].verdict is verdict and level in (None, pair[0].level)]
    if not chosen:
        return None
    if verdict is Verdict.VIOLATED and all(finding.subject == GENERATED for finding, _ in chosen):
        hint = _SEARCHED
    elif level is Level.INDICATOR and report.run.fail_on is Level.INDICATOR:
        hint = _FAILING
    by: dict[tuple[str, str], list[_Pair]] = {}
    for pair in chosen:
        by.setdefault((pair[0].family, pair[0].property), []).append(pair)
    groups = tuple(_group(pairs, shelf) for pairs in by.values())
    return Section(anchor, title, hint, verdict, groups, sum(1 + len(under) for _, under in chosen))


def _group(pairs: list[_Pair], shelf: _Shelf) -> Group:
    shown = pairs[: min(FEW if len(pairs) <= FEW else MOST_CARDS_IN_GROUP, shelf.room[0])]
    shelf.room[0] -= len(shown)
    rows = tuple(finding for finding, _ in pairs[len(shown) : len(shown) + MOST_ROWS])
    first = pairs[0][0]
    return Group(
        property=first.property, family=first.family, statement=first.statement, symptoms=first.symptoms, count=len(pairs),
        subjects=len({finding.subject for finding, _ in pairs}), cards=tuple(map(shelf.card, shown)),
        rows=rows, hidden=len(pairs) - len(shown) - len(rows))


def _links(line: Headline, sections: tuple[Section, ...], first: str) -> tuple[tuple[str, str], ...]:
    """The headline's places, each with the anchor of the first finding in full there."""
    by: dict[str, str] = {}
    for shown in (c for section in sections for group in section.groups for c in group.cards):
        by.setdefault(shown.link, shown.anchor)
    return tuple((place, by.get(place, first)) for place in line.places)


def _families(report: Report) -> Iterator[Family]:
    by: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.verdict is Verdict.HOLDS:
            by.setdefault(finding.family, []).append(finding)
    for name, findings in sorted(by.items()):
        yield Family(name, len(findings), sum(finding.places for finding in findings), tuple(findings[:MOST_ROWS]))


def _unmet(report: Report) -> list[Unmet]:
    by: dict[str, Counter[str]] = {}
    for finding in report.findings:
        if finding.verdict is Verdict.NOT_APPLICABLE:
            by.setdefault(finding.reason or finding.message, Counter())[f"{finding.family}/{finding.property}"] += 1
    return [Unmet(reason, tuple(properties.most_common(MOST_ROWS))) for reason, properties in by.items()]


def _facts(report: Report) -> tuple[tuple[str, str], ...]:
    run = report.run
    done = f"{run.checks_done} of {run.checks_planned}" if run.checks_planned else str(run.checks_done)
    facts = (
        ("Run", run.id), ("Command", shlex.join(run.command)), ("Started", run.started),
        ("Duration", f"{run.seconds:.1f} s" if run.seconds else ""),
        ("Checks", f"{done} done" + ("" if run.complete else ", incomplete")), ("Seed", str(run.seed)), ("Budget", _budget(run.budget)),
        ("Error budget", _error_budget(report)), ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    )
    return tuple((label, text) for label, text in facts if text)


def _budget(name: str) -> str:
    size = BUDGETS.get(name)
    if size is None:
        return name
    return (f"{name}: {size.draws} initialisations, {size.examples} architectures per property in a search, "
            f"{size.training_steps} training steps, {size.seconds:.0f} s for one experiment")


def _error_budget(report: Report) -> str:
    size = BUDGETS.get(report.run.budget)
    judged = len({(f.family, f.property, f.subject) for f in report.findings if f.evidence is not None})
    if size is None or not judged:
        return ""
    together = f", at most {plain(judged * size.alpha)} for the {judged} statements judged here together" if judged > 1 else ""
    return f"false alarms: at most {plain(size.alpha)} for one statistical statement{together}"
