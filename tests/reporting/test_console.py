"""The terminal: literal names, whole lines for other programs, progress only where someone watches."""

import io
import re

import pytest

from gradcheck_suite.core.events import CheckFinished, CheckStarted, Note, RunFinished, RunStarted, SubjectStarted
from gradcheck_suite.core.text import headline, visible
from gradcheck_suite.reporting.console import MOST_FINDINGS, ProgressConsumer, render
from tests.reporting import samples


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(report, stream=None):
    stream = stream or io.StringIO()
    render(report, stream)
    return stream.getvalue()


def events(name="resnet"):
    yield RunStarted(run=samples.RUN)
    yield SubjectStarted(subject=samples.RESNET)
    yield CheckStarted(property="correctness/backprop-agreement", subject=name)
    yield CheckFinished(property="correctness/backprop-agreement", subject=name, findings=(samples.wrong_backward(), *samples.holding()))
    yield Note(text=f"a note on {name}")
    yield RunFinished(seconds=1.0)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_the_headline_is_last():
    report = samples.mixed_report()
    assert printed(report).rstrip().splitlines()[-1] == str(headline(report))


def test_every_failure_says_what_to_do_next():
    text = printed(samples.mixed_report())
    assert text.count("gradcheck replay") == 5
    assert "relative difference from the numeric gradient = 0.03125 ± 4.1e-10 (allowed 0 to 1e-07)" in text
    assert "Segmentation fault" in text


def test_counts_by_family():
    lines = printed(samples.mixed_report()).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if re.match(r"[a-z]+( +\d+){5}$", line)}
    assert rows["correctness"] == ["1", "1", "1", "0", "0"]
    assert rows["optimization"] == ["1", "0", "0", "1", "1"]


def test_names_are_never_markup_and_control_nothing():
    text = printed(samples.hostile_report())
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text
    for name in samples.HOSTILE:
        assert visible(name) in text


def test_lines_stay_whole_without_a_terminal():
    long = next(line for line in printed(samples.mixed_report()).splitlines() if "remedies" in line)
    assert len(long) > 150


def test_a_terminal_gets_colour_but_no_foreign_escapes():
    text = printed(samples.hostile_report(), Terminal())
    assert "\x1b[1;31mVIOLATED" in text
    assert "\x1b[31mred" not in text
    assert "\\x1b[31mred" in text


def test_a_terminal_wraps_words_beside_their_labels(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed(samples.report_of([samples.vanishing()]), Terminal())).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("  seen"))
    assert lines[start + 1].startswith(" " * 13)
    assert all(len(line) <= 60 for line in lines)


def test_many_findings_are_counted():
    text = printed(samples.large_report(100))
    assert text.count("VIOLATED ") == MOST_FINDINGS
    assert "and 80 more findings in the report" in text


def test_an_encoding_that_lacks_a_sign_costs_nothing():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    render(samples.mixed_report(), stream)
    stream.flush()
    assert b"2 requirements are violated in resnet" in stream.buffer.getvalue()
    assert b"\\xb1" in stream.buffer.getvalue()


def test_only_the_end_of_a_long_traceback():
    finding = samples.finding("x", samples.Verdict.ERROR, details="\n".join(f"line {index}" for index in range(50)))
    text = printed(samples.report_of([finding]))
    assert "line 49" in text
    assert "line 10\n" not in text


def test_progress_is_silent_without_a_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    progress = ProgressConsumer(stream)
    for event in events():
        progress.handle(event)
    assert stream.getvalue() == ""


def test_progress_is_silent_when_quiet():
    stream = Terminal()
    progress = ProgressConsumer(stream, quiet=True)
    for event in events():
        progress.handle(event)
    assert stream.getvalue() == ""


def test_progress_counts_checks_and_verdicts_on_a_terminal():
    stream = Terminal()
    progress = ProgressConsumer(stream)
    *shown, last = events("[/bold][red]x[/red]")
    for event in shown:
        progress.handle(event)
    progress._progress.refresh()
    progress.handle(last)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "1/14" in text
    assert "1 violated, 8 holds" in text
    assert "a note on [/bold][red]x[/red]" in text


def test_ticks_move_the_bar_within_a_check_and_no_further():
    stream = Terminal()
    progress = ProgressConsumer(stream)
    start, subject, check, finish, *_ = events()
    for event in (start, subject, check):
        progress.handle(event)
    moved = []
    for _ in range(30):
        progress.tick(20)
        moved.append(progress._progress.tasks[0].completed)
    assert moved[0] == 0.05
    assert sorted(moved) == moved
    assert 0.9 < moved[-1] < 1
    progress._progress.refresh()
    assert "network 30" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    progress.handle(finish)
    assert progress._progress.tasks[0].completed == 1
    progress.close()


def test_progress_can_be_closed_at_any_time():
    progress = ProgressConsumer(Terminal())
    progress.close()
    progress.handle(next(events()))
    progress.close()
    progress.close()
