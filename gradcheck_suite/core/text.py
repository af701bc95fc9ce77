"""Findings and reports as plain text: what an assertion, a terminal, a page and an annotation say in the same words."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

from gradcheck_suite.core.causes import folded
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import GENERATED, Finding, RemedyTrial
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
    told = [pair for pair in folded(report.findings) if pair[0].verdict in (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)]
    broken = [f"A target could not be built: {visible(text)}" for text in report.run.broken]
    rest = [f"and {len(told) - most} more findings"] if len(told) > most else []
    notes = [f"note: {visible(note)}" for note in report.run.notes]
    return "\n\n".join([str(headline(report)), *broken, *filter(None, [first_cause(report)]), *starmap(_with, told[:most]), *rest, *notes])


def _with(finding: Finding, under: Sequence[Finding]) -> str:
    return finding_text(finding) + (f"\n  {'besides':<10} {visible(shortened(under_text(under)))}" if under else "")


def under_text(under: Sequence[Finding]) -> str:
    """The findings told under another one, in one sentence: each property once, with its first place."""
    first: dict[str, Finding] = {}
    for finding in under:
        first.setdefault(finding.property, finding)
    named = [f"{name} ({place})" if (place := short_place(finding)) else name for name, finding in first.items()]
    return f"{why_under(under[0])}: {', '.join(named)}"


def why_under(finding: Finding) -> str:
    """Why a finding is told under another one."""
    return "Not judged either, for the same reason" if finding.verdict is Verdict.ERROR else "Also violated, explained by this"


def facts(finding: Finding) -> tuple[tuple[str, str], ...]:
    """The labelled lines of a finding's text, in order; empty texts are facts that are not known."""
    evidence = finding.evidence
    note = evidence.note if evidence is not None else ""
    return (
        ("statement", finding.statement),
        ("measured", str(evidence) if evidence is not None else ""),
        ("place", place_text(finding)),
        ("seen", ". ".join(dict.fromkeys(part.rstrip(".") for part in (note, own_message(finding), finding.reason) if part))),
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
    where = finding.where
    numbered = "module " if where.module and not where.parameter and _number(where.module) else ""
    return numbered + str(where) if str(where) else f"{finding.places} places" if finding.places > 1 else ""


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
        sentence: without the final stop, without places, without the subject where it speaks of one alone.
        subject: the one subject that the sentence speaks of, or empty; data of the user's.
        also: what else the run found, in a second sentence without its stop, or empty.
        places: the first few places of what the sentence speaks of; data of the user's.
        more: how many further places there are.
        incomplete: ``"41 of 60 checks"`` where the run did not end, else empty.
    """

    verdict: Verdict | None
    sentence: str
    subject: str = ""
    also: str = ""
    places: tuple[str, ...] = ()
    more: int = 0
    incomplete: str = ""

    def __str__(self) -> str:
        start = f"INCOMPLETE ({self.incomplete}): " if self.incomplete else ""
        subject = f" in {visible(shortened(self.subject, 200))}" if self.subject else ""
        rest = f" and {self.more} more" if self.more else ""
        places = f": {', '.join(visible(shortened(place, 200)) for place in self.places)}{rest}" if self.places else ""
        return f"{start}{self.sentence}{subject}{places}." + (f" {self.also}." if self.also else "")


def headline(report: Report) -> Headline:
    """The verdict of a run in one sentence: the worst first, and never a pass where nothing was judged."""
    told = [part for part in _parts(report) if part[2]]
    run = report.run
    incomplete = "" if run.complete else f"{run.checks_done} of {run.checks_planned or 'an unknown number of'} checks"
    if not told:
        return Headline(None, "Nothing was checked", incomplete=incomplete)
    (verdict, findings, text), *others = told
    by = Counter(finding.verdict for finding in report.findings)
    failed = report.failures() or not findings
    decided = by[Verdict.HOLDS] + by[Verdict.VIOLATED]
    start = "" if failed else "No requirement is violated: " if decided else "Nothing could be decided: "
    places, more = ((), 0) if verdict is Verdict.HOLDS else _places(findings, kinds(report))
    subject, count = _subjects(findings, report)
    also = ", ".join(other for _, _, other in others)
    return Headline(verdict, f"{start}{text}{count}", subject, also, places, more, incomplete)


def _parts(report: Report) -> tuple[tuple[Verdict, list[Finding], str], ...]:
    """What a run found, the worst first: the verdict that colours it, the findings, a count in words (empty: none)."""
    heads, below = [head for head, _ in folded(report.findings)], [one for _, below in folded(report.findings) for one in below]
    under, lost_too = ([one for one in below if one.verdict is verdict] for verdict in (Verdict.VIOLATED, Verdict.ERROR))
    by = {verdict: [f for f in heads if f.verdict is verdict] for verdict in Verdict}
    required = [f for f in by[Verdict.VIOLATED] if f.level is Level.REQUIREMENT]
    warned = [f for f in by[Verdict.VIOLATED] if f.level is Level.INDICATOR]
    errors, open_, fine = by[Verdict.ERROR], by[Verdict.INCONCLUSIVE], by[Verdict.HOLDS]
    lost = len(report.run.broken)
    return (
        (Verdict.VIOLATED, required, _count(_properties(required), "requirement is violated", "requirements are violated")),
        (Verdict.VIOLATED, under, _count(_properties(under), "further statement is violated, which this explains",
                                         "further statements are violated, which this explains")),
        (Verdict.ERROR, errors, _count(_checks(errors), "check ended in an error", "checks ended in an error")),
        (Verdict.ERROR, lost_too, _count(_checks(lost_too), "further statement could not be judged for the same reason",
                                         "further statements could not be judged for the same reason")),
        (Verdict.ERROR, [], _count(lost, "target could not be built", "targets could not be built")),
        (Verdict.VIOLATED if report.run.fail_on is Level.INDICATOR else Verdict.INCONCLUSIVE, warned,
         _count(_properties(warned), "indicator is violated", "indicators are violated")),
        (Verdict.INCONCLUSIVE, open_, _count(len(open_), "finding is inconclusive", "findings are inconclusive")),
        (Verdict.HOLDS, fine, _count(_checks(fine), "statement holds", "statements hold")),
    )


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
    return f"{number} {one if number == 1 else many}" if number else ""


def _properties(findings: Iterable[Finding]) -> int:
    return len({(f.family, f.property) for f in findings})


def _checks(findings: Iterable[Finding]) -> int:
    return len({(f.family, f.property, f.subject) for f in findings})


def _subjects(findings: list[Finding], report: Report) -> tuple[str, str]:
    """The one subject of these findings, or of how many subjects they are, in words."""
    names = list(dict.fromkeys(f.subject for f in findings))
    total = max(len(report.subjects), len(names))
    return (names[0], "") if len(names) == 1 else ("", f" in {len(names)} of {total} subjects" if names else "")


def _places(findings: list[Finding], known: Mapping[tuple[str, str], str]) -> tuple[tuple[str, ...], int]:
    named = tuple(dict.fromkeys(filter(None, (named_place(f, known) for f in findings))))
    return named[:_PLACES_NAMED], max(0, len(named) - _PLACES_NAMED)


def kinds(report: Report) -> dict[tuple[str, str], str]:
    """The class of every module of every subject, as far as they are known."""
    return {(subject.name, path): kind for subject in report.subjects for path, kind in subject.modules}


def short_place(finding: Finding, known: Mapping[tuple[str, str], str] | None = None) -> str:
    """The module and parameter of a finding, and the function there: enough for a list.

    A module that is called by a number would read as a count: ``module 0 (Linear)``, its class from ``kinds`` where it is known.
    """
    where = finding.where
    path = ".".join(part for part in (where.module, where.parameter) if part)
    inside = where.function or ""
    if path and _number(path):
        inside = inside or (known or {}).get((finding.subject, path), "")
        path = f"module {path}"
    return f"{path} ({inside})" if path and inside else path or inside


def named_place(finding: Finding, known: Mapping[tuple[str, str], str] | None = None) -> str:
    """What a headline names: the place in a model; of a search, whose networks differ, the property."""
    return finding.property if finding.subject == GENERATED else short_place(finding, known)


def _number(path: str) -> bool:
    return path.replace(".", "").isdigit()
