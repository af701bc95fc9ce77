"""The page: one file that opens from disk, with nothing to load and nothing to run."""

import functools
import math
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.text import effect, place_text, shortened, visible
from gradcheck_suite.reporting.charts import Drawing
from gradcheck_suite.reporting.files import write_text
from gradcheck_suite.reporting.numbers import allowed, measured, plain
from gradcheck_suite.reporting.page import page

_TEMPLATES = Path(__file__).parent / "templates"
SIGNS = {Verdict.HOLDS: "✓", Verdict.VIOLATED: "✕", Verdict.INCONCLUSIVE: "?", Verdict.NOT_APPLICABLE: "–", Verdict.ERROR: "!"}
_TOLD = (Verdict.VIOLATED, Verdict.ERROR, Verdict.INCONCLUSIVE)
_MOST_ROWS = 12
_MOST_TEXT = 20_000  # characters of one literal text


def write_page(report: Report, path: Path) -> Path:
    """Write the page of a report.

    Raises:
        UsageError: the path is a directory, or cannot be written.
    """
    return write_text(path, render(report))


def render(report: Report) -> str:
    """The page of a report as text."""
    return _environment().get_template("page.html.j2").render(page=page(report))


def summary_fragment(report: Report) -> str:
    """What a notebook shows of a report: headline, counts and the most urgent findings, in markup that styles only itself."""
    return _environment().get_template("fragment.html.j2").render(page=page(report, draw=False), told=_TOLD, most=_MOST_ROWS)


@functools.cache
def _environment() -> jinja2.Environment:
    # autoescape=True and not select_autoescape(), which lets names such as page.html.j2 through unescaped
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    environment.filters.update(literal=_literal, plain=plain, grouped="{:,}".format, slug=_slug, tone=_tone, breakable=_breakable)
    environment.globals.update(measured=measured, allowed=allowed, place=place_text, sign=SIGNS.__getitem__, chart=_chart,
                               effect=effect, unknown=math.isnan, style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")))
    return environment


def _shown(value: Any) -> Any:
    """Every text that a template prints, unless it is markup already: hidden characters as their escapes, a flood cut."""
    return visible(shortened(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _literal(text: str) -> Markup:
    """Text of many lines, for ``<pre>``."""
    return Markup(escape(visible(shortened(text, _MOST_TEXT), keep="\n\t")))


def _breakable(text: str) -> Markup:
    """A path or target that a narrow line may break, after a slash or a colon rather than within a name."""
    return Markup(re.sub("([/:])", r"\1<wbr>", str(escape(visible(shortened(text))))))


def _chart(drawing: Drawing) -> Markup:
    """The picture of a drawing: our own markup, its texts escaped where it was made."""
    return Markup(drawing.svg)


def _tone(finding: Finding) -> str:
    """The class that colours a finding: its verdict, but a violated indicator only warns."""
    return "indicator" if finding.verdict is Verdict.VIOLATED and finding.level is Level.INDICATOR else finding.verdict.value


def _slug(verdict: Verdict | None) -> str:
    """A verdict as a class of the style sheet."""
    return "none" if verdict is None else verdict.value
