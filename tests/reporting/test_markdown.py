"""Markdown: parsed back, it says what was meant; names make no markup, no link and no mention."""

import html
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gradcheck_suite.core.evidence import Verdict, Where
from gradcheck_suite.core.text import visible
from gradcheck_suite.reporting.markdown import MOST_ROWS, code, escaped, render, write
from tests.reporting import samples

PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")
TEXT = st.text(min_size=1, max_size=60)


def shown(markdown: str) -> str:
    """The text that a reader sees."""
    return html.unescape(re.sub(r"<!-- -->|<[^>]+>", "", PARSER.render(markdown)))


def test_a_row_for_each_finding_that_asks_for_attention():
    page = PARSER.render(render(samples.mixed_report()))
    assert page.count("<tr>") == 6
    assert "<h2>2 requirements are violated in <code>resnet</code>: <code>layer3.0.act (FusedGELU)</code> <code>layer1</code></h2>" in page
    assert "<code>gradcheck replay" in page


def test_rows_are_capped_and_counted():
    text = render(samples.large_report(500))
    assert PARSER.render(text).count("<tr>") == MOST_ROWS + 1
    assert "450 more findings are in the report." in text
    assert len(text) < 60_000


def test_an_unfinished_run_says_so():
    assert "**Incomplete: 8 of 60 checks.**" in render(samples.unfinished_report())


def test_hostile_names_make_no_markup():
    page = PARSER.render(render(samples.hostile_report()))
    tags = set(re.findall(r"<([a-z0-9]+)", page))
    assert tags <= {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "code", "ul", "li"}
    assert page.count("<tr>") == 1 + 2 * len(samples.HOSTILE)
    assert all(len(row.split("<td>")) == 7 for row in page.split("<tr>")[2:])


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_escaped_text_shows_itself(text):
    assert shown(f"x {escaped(text)}").strip() == f"x {visible(text)}".rstrip()


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_code_shows_itself(text):
    inside = visible(text).strip()
    if inside and "|" not in inside:
        assert PARSER.render(code(text)) == f"<p><code>{html.escape(inside, quote=True).replace('&#x27;', chr(39))}</code></p>\n"


@pytest.mark.parametrize("text", ["@everyone", "see #12", "https://example.invalid/x", "www.example.invalid", "mail a@b.example"])
def test_nothing_is_mentioned_or_linked(text):
    assert "<!-- -->" in escaped(text)
    assert shown(escaped(text)).strip() == text


def test_written(tmp_path):
    assert write(samples.healthy_report(), tmp_path / "x.md").read_text(encoding="utf-8").startswith("## No requirement is violated")


def test_targets_that_could_not_be_built_and_what_a_finding_explains_are_told():
    identity = samples.finding("batch-additivity", Verdict.VIOLATED, where=Where(module="layer1"))
    report = samples.report_of([identity, samples.wrong_backward()])
    text = render(replace(report, run=replace(report.run, broken=("demo.models:missing: no such name",))))
    assert "**A target could not be built:** demo.models:missing" in text
    assert "Also violated, explained by this: batch-additivity (layer1)" in text
    assert text.count("**violated**") == 1
