"""Consumers, and runs that are stopped."""

import os
import signal

import pytest

from gradcheck_suite.core.events import CheckFinished, Note, RunFinished, RunStarted
from gradcheck_suite.engine.session import collect, stoppable
from tests.core.test_report import RUN, finding, stream


def test_consumers_see_every_event_in_order():
    seen = []
    events = stream(finding("holds"))
    collect(events, seen.append)
    assert seen == events


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_was_finished_and_says_which_signal(number):
    def events():
        yield RunStarted(run=RUN)
        yield CheckFinished(property="f/p", subject="s", findings=())
        os.kill(os.getpid(), number)
        yield CheckFinished(property="f/q", subject="s", findings=())

    seen = []
    with stoppable():
        report, stopped = collect(events(), seen.append)
    assert stopped == number
    assert not report.run.complete
    assert report.run.checks_done == 1
    assert [type(event) for event in seen] == [RunStarted, CheckFinished, Note, RunFinished]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_earlier_events_are_folded_but_not_given_again():
    seen = []
    earlier = [CheckFinished(property="f/old", subject="s", findings=(finding("holds"),))]
    report, _ = collect([RunStarted(run=RUN), RunFinished(seconds=1.0)], seen.append, earlier=earlier)
    assert report.summary["holds"] == 1
    assert len(seen) == 2
