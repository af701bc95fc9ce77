"""Children: what they see, what they hand back, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gradcheck_suite.captures.codec import encode
from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import SubjectError, TargetError
from gradcheck_suite.engine.isolation import launch, parent
from gradcheck_suite.engine.sources import ChildSource, Limits, LocalSource
from gradcheck_suite.targets import Options, parse, resolve
from tests.engine.children import left_by, recorded

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "hostile" / "models"
LIMITS = Limits(seconds=20.0)


def source_of(name: str, limits: Limits = LIMITS, file: str = "process") -> ChildSource:
    return ChildSource(parse(f"{MODELS}/{file}.py:{name}"), Options(), budget("quick"), 3, limits)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[parent.Child]:
    """Every child that is started."""
    return recorded(monkeypatch)


@pytest.fixture
def opened() -> Iterator[list[ChildSource]]:
    """Sources to close at the end of a test."""
    sources: list[ChildSource] = []
    yield sources
    for source in sources:
        source.close()


def test_a_child_measures_what_this_process_measures(opened: list[ChildSource], children: list[parent.Child]) -> None:
    opened.append(source := source_of("healthy"))
    local = LocalSource(resolve(parse(f"{MODELS}/process.py:healthy")), budget("quick"), 3)
    assert source.facts == local.facts
    names = ("structure", "backward_pass", "repeated_pass")
    source.prefetch(names)
    for name in names:
        assert encode(source.capture(name)) == encode(local.capture(name))
        assert source.capture(name) is source.capture(name)
    assert len(children) == 1


def test_the_surroundings_of_a_child(opened: list[ChildSource], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GC_TEST_TOKEN", "AWS_GC_TEST", "gc_test_GC_TEST_key", "GC_TEST_PLAIN"):
        monkeypatch.setenv(name, "x")
    opened.append(source := source_of("tells_its_surroundings", file="rude"))
    with pytest.raises(SubjectError) as caught:
        source.capture("backward_pass")
    facts = json.loads(str(caught.value).partition("FACTS")[2])
    assert facts["names"] == ["GC_TEST_PLAIN", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"]
    assert facts["cwd"] == facts["home"] == facts["temp"]
    assert facts["cwd"] != os.getcwd()
    assert (facts["argv"], facts["stdin"], facts["listing"]) == (["gradcheck-child"], "", [])
    assert (facts["core"], facts["threads"], facts["leader"]) == ([0, 0], 1, True)
    source.close()
    assert not os.path.exists(os.path.dirname(facts["cwd"]))


def test_the_remaining_probes_go_on_in_a_new_child(opened: list[ChildSource], children: list[parent.Child]) -> None:
    opened.append(source := source_of("segfault_backward"))
    source.prefetch(("structure", "repeated_pass", "structure"))
    assert source.capture("structure").modules
    for _ in range(2):
        with pytest.raises(SubjectError, match=r"in backward of 'body.2', .* SIGSEGV \(segmentation fault\)") as caught:
            source.capture("repeated_pass")
    assert (caught.value.stage, caught.value.module) == ("backward", "body.2")
    assert "process.py" in caught.value.details
    before = len(children)
    source.prefetch(("structure", "repeated_pass"))
    assert len(children) == before
    assert before == 2  # one that crashed, one that was traced


def test_the_same_ending_again_and_again_is_the_answer_to_the_rest(opened: list[ChildSource], children: list[parent.Child]) -> None:
    opened.append(source := source_of("exit_zero_forward", Limits(seconds=20.0, repeats=2)))
    names = ("structure", "backward_pass", "repeated_pass", "first_steps")
    source.prefetch(names)
    told = []
    for name in names:
        with pytest.raises(SubjectError, match="exited with exit code 0") as caught:
            source.capture(name)
        told.append("not run again" in str(caught.value))
    assert told == [False, False, True, True]
    assert len(children) == 4


def test_an_unknown_probe_is_an_error_not_the_end(opened: list[ChildSource]) -> None:
    opened.append(source := source_of("healthy"))
    with pytest.raises(SubjectError, match="no probe is called 'no_such_probe'"):
        source.capture("no_such_probe")
    assert source.capture("structure").modules


def test_a_target_that_ends_the_process_is_a_target_error(tmp_path: Path, opened: list[ChildSource]) -> None:
    (tmp_path / "here.py").write_text("import os\nprint('last words', flush=True)\nos._exit(0)\n")
    opened.append(source := ChildSource(parse(f"{tmp_path}/here.py:x"), Options(), budget("quick"), 0, LIMITS))
    for _ in range(2):
        with pytest.raises(TargetError, match="could not be imported: its process exited with exit code 0") as caught:
            assert source.facts
    assert "last words" in caught.value.details
    with pytest.raises(TargetError):
        source.capture("structure")


def test_a_build_that_fails_later_is_the_end_of_the_remaining_probes(tmp_path: Path, opened: list[ChildSource]) -> None:
    (tmp_path / "here.py").write_text(
        "import os, torch\nfrom torch import nn\n"
        f"flag = {str(tmp_path / 'flag')!r}\n"
        "class Ends(nn.Linear):\n    def forward(self, x): os._exit(0)\n"
        "def build():\n    if os.path.exists(flag + '2'): raise OSError('gone')\n"
        "    open(flag + '2' * os.path.exists(flag), 'w').close()\n    return {'model': Ends(3, 2), 'inputs': torch.ones(1, 3)}\n"
    )
    opened.append(source := ChildSource(parse(f"{tmp_path}/here.py:build"), Options(), budget("quick"), 0, LIMITS))
    names = ("structure", "backward_pass", "repeated_pass")
    assert source.facts.parameters == 8
    source.prefetch(names)
    stages = []
    for name in names:
        with pytest.raises(SubjectError) as caught:
            source.capture(name)
        stages.append(caught.value.stage)
    assert stages[-1] == "build"
    assert "gone" in str(caught.value)
    assert source.facts.parameters == 8


def test_one_interpreter_per_child_works_as_well(monkeypatch: pytest.MonkeyPatch, children: list[parent.Child]) -> None:
    source = source_of("leaves_a_session", Limits(seconds=60.0), "rude")
    monkeypatch.setattr(parent, "launch", lambda *args, fork: launch.launch(*args, fork=False))
    assert source.capture("repeated_pass")
    assert [process.name() for process in left_by(children)] == ["sleep"]
    source.close()
    assert not left_by(children)


def test_where_no_server_starts_the_child_gets_an_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def lost(packages: list[str], startup: float) -> None:
        raise launch.ServerLost("no")

    monkeypatch.setattr(launch, "server", lost)
    monkeypatch.setattr(launch, "_CHILD", "import sys; sys.exit(7)")
    child = launch.launch(tmp_path, "n" * 32, [], 1.0)
    assert isinstance(child, launch.Spawned)
    assert child.status(60.0) == 7
    child.kill()


def test_a_forgotten_source_leaves_nothing(children: list[parent.Child]) -> None:
    source: ChildSource | None = source_of("healthy")
    assert source is not None
    assert source.facts
    folder, pid = children[0]._folder, children[0]._launched.pid
    assert folder.exists()
    children.clear()
    source = None
    assert not folder.exists()
    assert not psutil.pid_exists(pid)


def test_a_killed_server_is_started_again(opened: list[ChildSource]) -> None:
    opened.append(first := source_of("healthy"))
    assert first.facts
    server = launch.server(["gradcheck_suite.targets"], 60.0)
    os.kill(server.pid, signal.SIGKILL)
    assert first.capture("structure").modules  # its own child lives on
    opened.append(second := source_of("healthy"))
    assert second.facts == first.facts
    assert launch.server(["gradcheck_suite.targets"], 60.0).pid != server.pid


def test_nothing_that_the_model_started_is_left(children: list[parent.Child]) -> None:
    source = source_of("leaves_a_session", file="rude")
    assert source.capture("backward_pass")
    assert [process.name() for process in left_by(children)] == ["sleep"]
    source.close()
    assert not left_by(children)


def test_when_the_caller_is_killed_everything_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = (
        "import sys; from tests.engine.test_isolation_child import *\n"
        "source = source_of('python_loop'); assert source.facts\n"
        "server = launch.server(['gradcheck_suite.targets'], 60.0)\n"
        "print(server.pid, source._child._launched.pid, flush=True)\n"
        "source.capture('backward_pass')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
        process.kill()
    deadline = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(psutil.pid_exists, pids))
    assert list(tmp_path.glob("gradcheck-*")) == []
