"""Findings and reports as plain text: what an assertion, a terminal, a page and an annotation say in the same words."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding, RemedyTrial
from gradcheck_suite.core.report import Report

# Control characters, surrogates, line and paragraph separators, bidirectional controls and zero-width characters, noncharacters.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLACES_NAMED = 4


def visible(text: str, *, keep: str = "") -> str:
    r"""Text with every character that shows nothing, or moves what is shown, written as its escape (``\x00``, ``\u202e``).

    What comes out can be printed on a terminal and carried by XML and UTF-8. ``keep`` names characters that stay, such as
    ``"\n\t"`` for a traceback.
    """
    return _HIDDEN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def shortened(text: str, most: int = 1000) -> str:
    """Text of at most about ``most`` characters: of a longer one the beginning and the end, and how much is left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters left out … {text[-half:]}"


def finding_text(finding: Finding, *, details: bool = True) -> str:
    """One finding as plain text: verdict, statement, number with its bound, place, what was ruled out, next step.

    ``details`` adds the traceback or log tail of an error.
    """
    head = f"{finding.verdict.upper()} {finding.family}/{finding.property} ({finding.level}) in {shortened(finding.subject)}"
    lines = [visible(head), *(f"  {label:<10} {visible(shortened(text))}" for label, text in facts(finding) if text)]
    if details and finding.details:
        lines += ["  details", *(f"    {line}" for line in visible(shortened(finding.details, 8000).rstrip(), keep="\n\t").split("\n"))]
    return "\n".join(lines)


def report_text(report: Report, *, most: int = 20) -> str:
    """A report as plain text: the headline, then the failures and what could not be decided, at most ``most`` of them."""
    told = [f for f in report.findings if f.verdict in (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)]
    rest = [f"and {len(told) - most} more findings"] if len(told) > most else []
    notes = [f"note: {visible(note)}" for note in report.run.notes]
    return "\n\n".join([str(headline(report)), *filter(None, [first_cause(report)]), *map(finding_text, told[:most]), *rest, *notes])


def facts(finding: Finding) -> tuple[tuple[str, str], ...]:
    """The labelled lines of a finding's text, in order; empty texts are facts that are not known."""
    evidence = finding.evidence
    note = evidence.note if evidence is not None else ""
    return (
        ("statement", finding.statement),
        ("measured", str(evidence) if evidence is not None else ""),
        ("place", place_text(finding)),
        ("seen", " ".join(dict.fromkeys(part for part in (note, own_message(finding), finding.reason) if part))),
        ("ruled out", ", ".join(dict.fromkeys((*finding.ruled_out, *(evidence.ruled_out if evidence is not None else ()))))),
        ("remedies", "; ".join(map(trial_text, finding.remedies))),
        ("next", finding.reproduce),
    )


def trial_text(trial: RemedyTrial) -> str:
    """What a remedy did: ``he-initialization helps (holds, -0.3 ± 0.1)``; what a training then reached; without either, why not."""
    if trial.outcome:
        return f"{trial.remedy} {effect(trial)}{', but it does not learn' if trial.helps and not trial.cures else ''}: {trial.outcome}"
    if math.isnan(trial.value):
        return f"{trial.remedy} {effect(trial)} ({trial.note})" if trial.note else f"{trial.remedy} {effect(trial)} ({trial.verdict})"
    return f"{trial.remedy} {effect(trial)} ({trial.verdict}, {trial.value:.4g} ± {trial.error:.2g})"


def effect(trial: RemedyTrial) -> str:
    """The effect of a remedy in a word or two."""
    if trial.helps:
        enough = {Verdict.VIOLATED: ", not enough", Verdict.INCONCLUSIVE: ", enough or not is undecided"}
        return f"helps{enough.get(trial.verdict, '')}"
    return "could not be measured" if math.isnan(trial.value) and not trial.outcome else "does not help"


def place_text(finding: Finding) -> str:
    """Where a finding is; for a finding that folds many places, their number."""
    return str(finding.where) or (f"{finding.places} places" if finding.places > 1 else "")


def own_message(finding: Finding) -> str:
    """What the message adds to statement, evidence and reason, which are shown on their own: all that follows the last of them."""
    evidence = finding.evidence
    known = (finding.statement, finding.reason, *((str(evidence), evidence.note) if evidence is not None else ()))
    ends = [finding.message.rfind(part) + len(part) for part in known if part and part in finding.message]
    return finding.message[max(ends, default=0) :].lstrip(".:;, ")


@dataclass(frozen=True, slots=True)
class Headline:
    """A report in one sentence.

    Attributes:
        verdict: what colours it; ``None`` where nothing was checked.
        sentence: without the final stop, without places.
        also: what else the run found, in a second sentence without its stop, or empty.
        places: the first few places of what the sentence speaks of; data of the user's.
        more: how many further places there are.
        incomplete: ``"41 of 60 checks"`` where the run did not end, else empty.
    """

    verdict: Verdict | None
    sentence: str
    also: str = ""
    places: tuple[str, ...] = ()
    more: int = 0
    incomplete: str = ""

    def __str__(self) -> str:
        start = f"INCOMPLETE ({self.incomplete}): " if self.incomplete else ""
        rest = f" and {self.more} more" if self.more else ""
        places = f": {', '.join(visible(shortened(place, 200)) for place in self.places)}{rest}" if self.places else ""
        return f"{start}{self.sentence}{places}." + (f" {self.also}." if self.also else "")


def headline(report: Report) -> Headline:
    """The verdict of a run in one sentence: the worst first, and never a pass where nothing was judged."""
    by = {verdict: [f for f in report.findings if f.verdict is verdict] for verdict in Verdict}
    broken = [f for f in by[Verdict.VIOLATED] if f.level is Level.REQUIREMENT]
    warned = [f for f in by[Verdict.VIOLATED] if f.level is Level.INDICATOR]
    parts = (
        (Verdict.VIOLATED, broken, _count(_properties(broken), "requirement is violated", "requirements are violated")),
        (Verdict.ERROR, by[Verdict.ERROR], _count(_checks(by[Verdict.ERROR]), "check ended in an error", "checks ended in an error")),
        (Verdict.INCONCLUSIVE, warned, _count(_properties(warned), "indicator warns", "indicators warn")),
        (Verdict.INCONCLUSIVE, by[Verdict.INCONCLUSIVE],
         _count(len(by[Verdict.INCONCLUSIVE]), "finding is inconclusive", "findings are inconclusive")),
        (Verdict.HOLDS, by[Verdict.HOLDS], _count(_checks(by[Verdict.HOLDS]), "statement holds", "statements hold")),
    )
    told = [part for part in parts if part[1]]
    run = report.run
    incomplete = "" if run.complete else f"{run.checks_done} of {run.checks_planned or 'an unknown number of'} checks"
    if not told:
        return Headline(None, "Nothing was checked", incomplete=incomplete)
    (verdict, findings, text), *others = told
    start = "" if broken or by[Verdict.ERROR] else "Nothing could be decided: " if not by[Verdict.HOLDS] else "No requirement is violated: "
    places, more = ((), 0) if verdict is Verdict.HOLDS else _places(findings)
    also = ", ".join(other for _, _, other in others)
    return Headline(verdict, f"{start}{text} in {_subjects(findings, report)}", also, places, more, incomplete)


def first_cause(report: Report) -> str:
    """What to look at first, in the words of the first violated finding: what is wrong, where, what to do; empty where nothing is.

    Where a remedy was tried and helped, what it brought is told as well.
    """
    first = next((finding for finding in report.findings if finding.verdict is Verdict.VIOLATED), None)
    if first is None:
        return ""
    note = first.evidence.note if first.evidence is not None else ""
    said = note or own_message(first) or f"This does not hold: {first.statement or first.property}"
    place = place_text(first)
    subject = f"In {first.subject}: " if len(report.subjects) > 1 else ""
    told = f"{said[:1].upper()}{said[1:]}".rstrip(".")
    where = f" (at {place})" if place else ""
    helped = sorted((trial for trial in first.remedies if trial.helps), key=lambda one: (not one.cures, one.verdict is not Verdict.HOLDS))
    tried = f" Tried on a copy: {trial_text(helped[0])}." if helped else ""
    return visible(shortened(f"{subject}{told}{where}.{tried}"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _properties(findings: Iterable[Finding]) -> int:
    return len({(f.family, f.property) for f in findings})


def _checks(findings: Iterable[Finding]) -> int:
    return len({(f.family, f.property, f.subject) for f in findings})


def _subjects(findings: list[Finding], report: Report) -> str:
    names = dict.fromkeys(f.subject for f in findings)
    total = max(len(report.subjects), len(names))
    return visible(shortened(next(iter(names)), 200)) if len(names) == 1 else f"{len(names)} of {total} subjects"


def _places(findings: list[Finding]) -> tuple[tuple[str, ...], int]:
    named = tuple(dict.fromkeys(filter(None, (short_place(f) for f in findings))))
    return named[:_PLACES_NAMED], max(0, len(named) - _PLACES_NAMED)


def short_place(finding: Finding) -> str:
    """The module and parameter of a finding, and the function there: enough for a list."""
    where = finding.where
    path = ".".join(part for part in (where.module, where.parameter) if part)
    return f"{path} ({where.function})" if path and where.function else path or where.function or ""
