"""A finding in full, as data: its number on a gauge, its exhibits drawn, its remedies on the same scale."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.exhibits import SMALLEST_NETWORK, Code, Curve, Exhibit, Histogram, Table
from gradcheck_suite.core.finding import Finding, RemedyTrial
from gradcheck_suite.core.text import named_place, own_message, short_place, why_under
from gradcheck_suite.reporting.charts import Drawing, draw
from gradcheck_suite.reporting.gauge import Gauge, Scale, gauge, scale_of

MOST_CHARTS: Final = 30  # drawn in one page: a drawing costs 35 ms and 15 kB
MOST_PICTURES: Final = 6
MOST_TABLE_ROWS: Final = 40
_OVER_DEPTH: Final = re.compile(r"\b(layer|depth|block|module)s?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trial:
    """A remedy with its measured effect on the finding's scale; no gauge where the finding has no evidence."""

    remedy: RemedyTrial
    gauge: Gauge | None


@dataclass(frozen=True, slots=True)
class Card:
    """A finding in full."""

    finding: Finding
    anchor: str
    title: str
    place: str
    link: str
    seen: tuple[str, ...]
    ruled_out: tuple[str, ...]
    gauge: Gauge | None
    trials: tuple[Trial, ...]
    drawings: tuple[Drawing, ...]
    undrawn: int
    tables: tuple[Table, ...]
    codes: tuple[Code, ...]
    network: str
    under: tuple[Finding, ...]
    why_under: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A curve over depth, with the finding it belongs to and that finding's anchor if it is shown in full."""

    drawing: Drawing
    finding: Finding
    anchor: str


class Charts:
    """Draws charts while there is room in the page, each under a name of its own that begins with ``prefix``."""

    def __init__(self, prefix: str, most: int) -> None:
        self._prefix, self._room, self._drawn = prefix, most, 0

    def draw(self, exhibit: Curve | Histogram) -> Drawing | None:
        """The drawing, or ``None`` where the page has enough of them."""
        if self._drawn >= self._room:
            return None
        self._drawn += 1
        return draw(exhibit, f"{self._prefix}-{self._drawn}")


def card(finding: Finding, anchor: str, charts: Charts, under: tuple[Finding, ...] = (),
         known: Mapping[tuple[str, str], str] | None = None) -> Card:
    """A finding as it is shown in full, with those that it explains; ``known`` are the classes of the subjects' modules."""
    evidence = finding.evidence
    exhibits: tuple[Exhibit, ...] = evidence.exhibits if evidence is not None else ()
    wanted = [exhibit for exhibit in exhibits if isinstance(exhibit, Curve | Histogram)]
    drawings = tuple(drawing for exhibit in wanted if (drawing := charts.draw(exhibit)) is not None)
    seen = (evidence.note if evidence is not None else "", own_message(finding), finding.reason)
    return Card(
        finding=finding, anchor=anchor, title=finding.statement or finding.property, place=short_place(finding, known),
        link=named_place(finding, known),
        seen=tuple(dict.fromkeys(filter(None, seen))),
        ruled_out=tuple(dict.fromkeys((*finding.ruled_out, *(evidence.ruled_out if evidence is not None else ())))),
        gauge=replace(gauge(evidence), verdict=finding.verdict) if evidence is not None else None,
        trials=_trials(finding.remedies, evidence),
        drawings=drawings, undrawn=len(wanted) - len(drawings),
        tables=tuple(exhibit for exhibit in exhibits if isinstance(exhibit, Table)),
        codes=tuple(exhibit for exhibit in exhibits if isinstance(exhibit, Code) and exhibit.title != SMALLEST_NETWORK),
        network=next((exhibit.text for exhibit in exhibits if isinstance(exhibit, Code) and exhibit.title == SMALLEST_NETWORK), ""),
        under=under, why_under=why_under(under[0]) if under else "")


def _trials(remedies: tuple[RemedyTrial, ...], evidence: Evidence | None) -> tuple[Trial, ...]:
    if evidence is None:
        return tuple(Trial(remedy, None) for remedy in remedies)
    scale = scale_of(evidence, [(remedy.value, remedy.error) for remedy in remedies])
    return tuple(Trial(remedy, _effect(remedy, evidence, scale)) for remedy in remedies)


def _effect(remedy: RemedyTrial, evidence: Evidence, scale: Scale) -> Gauge:
    return replace(gauge(replace(evidence, value=remedy.value, error=remedy.error), scale), verdict=remedy.verdict)


def pictures(findings: Iterable[Finding], anchors: Mapping[int, str]) -> tuple[Picture, ...]:
    """How the gradient accumulates: the first few curves over depth of any finding, each once."""
    charts, shown = Charts("depth", MOST_PICTURES), dict[Curve, Picture]()
    for finding in findings:
        for exhibit in finding.evidence.exhibits if finding.evidence is not None else ():
            if isinstance(exhibit, Curve) and over_depth(exhibit) and exhibit not in shown:
                drawing = charts.draw(exhibit)
                if drawing is None:
                    return tuple(shown.values())
                shown[exhibit] = Picture(drawing, finding, anchors.get(id(finding), ""))
    return tuple(shown.values())


def over_depth(curve: Curve) -> bool:
    """Whether a curve runs through the layers of a network, as its axis says."""
    return _OVER_DEPTH.search(curve.x_label) is not None
