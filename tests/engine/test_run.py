"""The run as events: order, sharing, confirmation, resumption."""


import pytest

from gradcheck_suite.core.errors import TargetError
from gradcheck_suite.core.events import CheckFinished, CheckStarted, RunFinished, RunStarted, SubjectStarted
from gradcheck_suite.core.report import fold
from gradcheck_suite.engine.run import Plan, described, run
from tests.engine.fakes import TableSource, evidence, property_of

FACTS = described(("gradcheck",), 0, "quick", 1)


def test_events_come_in_order_and_the_source_is_closed():
    source = TableSource(probe=1)
    events = list(run(Plan((lambda: source,), (property_of(lambda probe: evidence()),)), FACTS))
    assert [type(event) for event in events] == [RunStarted, SubjectStarted, CheckStarted, CheckFinished, RunFinished]
    assert source.closed
    assert fold(events).run.complete


def test_one_broken_target_does_not_end_the_others():
    def broken():
        raise TargetError("cannot be built")

    plan = Plan((broken, lambda: TableSource(probe=1)), (property_of(lambda probe: evidence()),))
    report = fold(run(plan, FACTS))
    assert report.summary["holds"] == 1
    assert report.run.broken == ("cannot be built",)
    assert report.exit_code() == 2


def test_a_single_broken_target_ends_the_run():
    def broken():
        raise TargetError("cannot be built")

    with pytest.raises(TargetError):
        list(run(Plan((broken,), ()), FACTS))


def test_what_is_done_is_not_run_again():
    prop = property_of(lambda probe: evidence())
    events = list(run(Plan((lambda: TableSource(probe=1),), (prop,)), FACTS, {("f/p", "subject")}))
    assert not any(isinstance(event, CheckStarted) for event in events)


def test_findings_carry_the_command_that_replays_them():
    prop = property_of(lambda probe: evidence(3.0))
    (finding,) = fold(run(Plan((lambda: TableSource(probe=1),), (prop,)), FACTS)).findings
    assert finding.reproduce == f"gradcheck replay {finding.id}"
