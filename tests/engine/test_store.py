"""The store: whole lines, whatever happens to the process or the disk."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import CheckFinished, CheckStarted, Event, Note, Run, RunFinished, RunStarted, SubjectFacts, SubjectStarted
from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.report import fold
from gradcheck_suite.engine.store import Case, Store, case_id, find_case, finished, read_events

HOSTILE = "a\0b\u202e\u2028</script>[/bold]\n"


def a_run(name: str = "run-1") -> Run:
    return Run(id=name, command=("gradcheck", "audit"), seed=7, budget="quick", versions={"torch": "2"}, checks_planned=2)


def a_finding(identifier: str = "abcd2345", subject: str = "m.py:build") -> Finding:
    where = Where(module=HOSTILE, entry=(3, 7))
    evidence = Evidence(quantity="q", value=float("nan"), error=float("inf"), low=0.0, high=float("inf"), where=where)
    return Finding(id=identifier, property="p", family="f", level=Level.REQUIREMENT, symptoms=("s",), subject=subject,
                   verdict=Verdict.INCONCLUSIVE, message=HOSTILE, where=where, evidence=evidence)


def events(name: str = "run-1") -> list[Event]:
    return [
        RunStarted(run=a_run(name)),
        SubjectStarted(subject=SubjectFacts(name="m.py:build", target="m.py:build", parameters=3, modules=(("", "Net"), (HOSTILE, "L")))),
        CheckStarted(property="f/p", subject="m.py:build"),
        CheckFinished(property="f/p", subject="m.py:build", findings=(a_finding(),), seconds=0.5),
        Note(text=HOSTILE),
        RunFinished(seconds=1.5),
    ]


def store_all(folder: Path, stream: list[Event]) -> None:
    store = Store(folder)
    for event in stream:
        store.handle(event)
    store.close()


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    store_all(tmp_path / "run", events())
    # NaN is not equal to itself: compare what the events say.
    assert [repr(event) for event in read_events(tmp_path / "run")] == [repr(event) for event in events()]
    first, *rest = (tmp_path / "run" / "results.jsonl").read_text(encoding="ascii").splitlines()
    assert json.loads(first) == {"schema": 1, "versions": {"torch": "2"}}
    assert len(rest) == len(events())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["complete"] is True


def test_a_lone_surrogate_does_not_spoil_a_line(tmp_path: Path) -> None:
    store_all(tmp_path, [events()[0], Note(text="name \udcff")])
    assert [type(event) for event in read_events(tmp_path)] == [RunStarted, Note]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_dropped_with_a_note(tmp_path: Path, cut: int) -> None:
    store_all(tmp_path, events()[:4])
    file = tmp_path / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    read = list(read_events(tmp_path))
    last = CheckFinished if cut == 1 else Note  # without its newline the last line is still whole
    assert [type(event) for event in read] == [RunStarted, SubjectStarted, CheckStarted, last]
    assert not fold(read).run.complete


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"schema": 1, "ver')
    assert list(read_events(tmp_path)) == []
    store_all(tmp_path, events())
    assert len(list(read_events(tmp_path))) == len(events())


def test_a_resumed_run_reads_as_one(tmp_path: Path) -> None:
    store_all(tmp_path, [*events()[:4], RunFinished(seconds=0.0, interrupted=True)])
    with open(tmp_path / "results.jsonl", "a", encoding="ascii") as file:
        file.write('{"event": "check-fin')  # killed while writing
    more = CheckFinished(property="f/q", subject="m.py:build", findings=(a_finding("zzzz2345"),))
    assert finished(read_events(tmp_path)) == {("f/p", "m.py:build")}
    store_all(tmp_path, [events()[0], events()[1], more, RunFinished(seconds=1.0)])
    report = fold(read_events(tmp_path))
    assert report.run.complete
    assert report.run.checks_planned == 2
    assert report.run.checks_done == 2
    assert {finding.id for finding in report.findings} == {"abcd2345", "zzzz2345"}


def test_an_interruption_at_the_end_is_kept(tmp_path: Path) -> None:
    store_all(tmp_path, [*events()[:4], RunFinished(seconds=0.0, interrupted=True)])
    assert list(read_events(tmp_path))[-1] == RunFinished(seconds=0.0, interrupted=True)


def test_a_case_is_on_disk_before_its_check_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "run", {"m.py:build": {"inputs": ["4x3"], "mode": "eval"}})
    for event in events()[:3]:
        store.handle(event)
    expected = Case(id=case_id("f/p", "m.py:build"), property="f/p", subject="m.py:build", target="m.py:build", seed=7, budget="quick",
                    options={"inputs": ["4x3"], "mode": "eval"})
    assert find_case(tmp_path / "run", expected.id) == (tmp_path / "run", expected)
    store.handle(events()[3])
    store.close()
    assert find_case(tmp_path, "abcd2345") == (tmp_path / "run", expected)
    assert find_case(tmp_path, "abcd") == (tmp_path / "run", expected)
    for unknown in ("yyyy", "../../etc", "*"):
        with pytest.raises(UsageError, match="no case"):
            find_case(tmp_path, unknown)


def test_a_folder_that_cannot_be_made_costs_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    store = Store(tmp_path / "file" / "run", tell=told.append)
    for event in events():
        store.handle(event)
    store.close()
    assert len(told) == 1
    assert "cannot be stored" in told[0]
    assert store.problem == told[0]


def test_a_full_disk_costs_one_message_and_leaves_whole_lines(tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path, tell=told.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
        for _ in range(3):
            for event in events():
                store.handle(event)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        store.close()
    assert len(told) == 1
    assert isinstance(next(iter(read_events(tmp_path))), RunStarted)


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    script = ("import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
              "from tests.engine.test_store import events, Store\n"
              "store = Store(Path(sys.argv[1])); [store.handle(e) for e in events()[:2]]; print('go', flush=True)\n"
              "while True: store.handle(events()[3])\n")
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path), root], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = 0
        while size < 20_000:
            size = os.path.getsize(tmp_path / "results.jsonl")
        process.kill()
    read = list(read_events(tmp_path))
    assert sum(isinstance(event, CheckFinished) for event in read) > 3
    assert not any(isinstance(event, Note) for event in read)


def test_four_writers_do_not_mix_lines(tmp_path: Path) -> None:
    stores = [Store(tmp_path) for _ in range(4)]
    stores[0].handle(events()[0])
    for _ in range(50):
        for store in stores:
            store.handle(events()[3])
    for store in stores:
        store.close()
    assert [type(event) for event in read_events(tmp_path)] == [RunStarted, *[CheckFinished] * 200]


@pytest.mark.parametrize(("text", "words"), [
    (None, "holds no run"), ("not json\n", "does not begin with a schema"), ('{"schema": 99}\n', "has schema 99"), ("[]\n", "schema")])
def test_what_is_no_run_is_said_so(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "results.jsonl").write_text(text)
    with pytest.raises(UsageError, match=words):
        list(read_events(tmp_path))


def test_a_foreign_folder_among_the_runs_does_not_hide_a_case(tmp_path: Path) -> None:
    with_case = tmp_path / "20260101-run"
    store_all(with_case, events())
    identifier = next((with_case / "cases").glob("*.json")).stem
    for name, text in (("99990101-newer", '{"schema": 99}\n'), ("99990102-foreign", "hello\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.jsonl").write_text(text)
    folder, case = find_case(tmp_path, identifier)
    assert (folder, case.id) == (with_case, identifier)
    with pytest.raises(UsageError, match=r"2 of 3 runs could not be read.*schema 99"):
        find_case(tmp_path, "zzzzzzzz")
