"""The parts of the containment, each by itself."""

import faulthandler
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradcheck_suite
from gradcheck_suite.core.errors import NotApplicable, SubjectError, TargetError, UsageError
from gradcheck_suite.engine.isolation.blame import subject_error
from gradcheck_suite.engine.isolation.endings import UNKNOWN, Ending, as_subject_error, as_target_error
from gradcheck_suite.engine.isolation.errors import error_from_data, error_to_data
from gradcheck_suite.engine.isolation.jobs import read_command, write_command
from gradcheck_suite.engine.isolation.limits import GIB, Limits
from gradcheck_suite.engine.isolation.records import FILE, Reader, Recorder
from gradcheck_suite.engine.isolation.stacks import stage_in, users_stacks
from gradcheck_suite.engine.isolation.surroundings import LOG, scrubbed
from gradcheck_suite.engine.isolation.watch import Watch, private_memory, tail_of
from gradcheck_suite.probes.execution import filled
from gradcheck_suite.subject import Batch, Setup

NONCE = "n" * 32


def test_records_arrive_whole_and_forged_ones_do_not(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path, NONCE), Reader(tmp_path, NONCE)
    assert reader.new() == []
    recorder.write(stage="import")
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'{"nonce": "wrong", "done": "x"}\n{"done": "x"}\n[1]\nnot json\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    recorder.write(module="\udcff\n")
    assert reader.new() == [{"stage": "import"}, {"module": "\udcff\n"}]
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'{"nonce": "' + NONCE.encode())
    assert reader.new() == []
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'", "late": 1}\n')
    assert reader.new() == [{"late": 1}]


def test_a_forked_copy_records_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, NONCE)
    pid = os.fork()
    if pid == 0:
        recorder.write(stage="copy")
        os._exit(0)
    os.waitpid(pid, 0)
    assert Reader(tmp_path, NONCE).new() == []


def test_commands_appear_whole(tmp_path: Path) -> None:
    assert read_command(tmp_path, 0) == []
    write_command(tmp_path, 0, ["a", "b"])
    write_command(tmp_path, 1, None)
    assert read_command(tmp_path, 0) == ["a", "b"]
    assert read_command(tmp_path, 1) is None


@pytest.mark.parametrize(
    "error",
    [
        TargetError("got", allowed="a", instead="b", details="d"),
        UsageError("got", allowed="a"),
        NotApplicable("a fact"),
        SubjectError("failed", stage="forward", module="", details="d"),
        SubjectError("\udcff\0", stage="x", module=None),
    ],
)
def test_errors_travel_as_data(error: Any) -> None:
    back = error_from_data(error_to_data(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_an_environment_without_secrets() -> None:
    secrets = [
        "GITHUB_TOKEN",
        "API_KEY",
        "my_secret",
        "AWS_PROFILE",
        "DB_PASSWORD",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSH_AUTH_SOCK",
        "TOKEN",
        "PIP_INDEX_URL",
        "SENTRY_DSN",
        "AZURE_X",
    ]
    kept = ["PATH", "KEYBOARD", "MONKEY", "LANG", "TOKENIZERS_PARALLELISM", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"]
    clean = scrubbed(dict.fromkeys([*secrets, *kept], "x"))
    assert set(kept) <= set(clean)
    assert not set(secrets) & set(clean)
    assert clean["HF_HUB_OFFLINE"] == clean["OMP_NUM_THREADS"] == "1"


def test_the_log_is_cut_and_counted_for_each_probe(tmp_path: Path) -> None:
    watch = Watch(os.getpid(), tmp_path, Limits(log=20_000, log_kept=5000))

    def look(since: float, printed: int) -> Ending | None:
        with open(tmp_path / LOG, "a", encoding="ascii") as file:
            file.write("b" * printed)
        watch._looked = 0.0
        return watch.exceeded(since, 1e9)

    now = time.monotonic()
    for printed in (0, 9_000, 9_000):
        assert look(now, printed) is None
        assert (tmp_path / LOG).stat().st_size < 5000
    assert tail_of(tmp_path / LOG).endswith("[cut: 18000 bytes were printed so far]")
    assert look(now + 1, 9_000) is None
    ending = look(now + 1, 21_000)
    assert ending is not None
    assert ending.reason == "log"


def test_a_deadline_and_a_memory_limit_are_seen(tmp_path: Path) -> None:
    late = Watch(os.getpid(), tmp_path, Limits()).exceeded(time.monotonic() - 2, 1.0)
    assert late is not None
    assert (late.reason, late.limit) == ("timeout", 1.0)
    full = Watch(os.getpid(), tmp_path, Limits(memory=1)).exceeded(time.monotonic(), 1e9)
    assert full is not None
    assert full.reason == "memory"
    assert private_memory(os.getpid()) > 1 << 20
    assert private_memory(1 << 30) == 0
    assert 2 * GIB <= Limits().memory <= 32 * GIB


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (
            Ending(reason="signal", code=-11, stage="forward", module="a.b"),
            "in forward of 'a.b', .*SIGSEGV .segmentation fault., signal 11",
        ),
        (Ending(reason="signal", code=-9, probe="p"), "during the probe p, .*SIGKILL.*short of memory"),
        (Ending(reason="signal", code=-200, probe="p"), "signal 200"),
        (
            Ending(reason="exit", code=0, stage="backward", module=""),
            "in backward of the model itself, .*exit code 0 before there was a result",
        ),
        (Ending(reason="exit", code=UNKNOWN, probe="p"), "killed its parent"),
        (Ending(reason="timeout", limit=60, stuck=40, probe="p"), "a single call did not return for 40 s; the deadline is 60 s"),
        (Ending(reason="timeout", limit=60, stuck=1, probe="p"), r"deadline of 60 s\) and was stopped"),
        (Ending(reason="memory", limit=1 << 30, probe="p"), "memory limit of 1024 MiB"),
        (Ending(reason="log", limit=1 << 30, probe="p"), "printed more"),
        (Ending(reason="threads", limit=9, probe="p"), "more than 9 threads"),
        (Ending(reason="processes", limit=9, probe="p"), "more than 9 processes"),
    ],
)
def test_an_ending_in_words(ending: Ending, words: str) -> None:
    with pytest.raises(SubjectError, match=words):
        raise as_subject_error(ending)
    assert "could not be built" in str(as_target_error(ending, "m:x"))


def test_stacks_show_the_model_and_not_us(tmp_path: Path) -> None:
    with open(tmp_path / "stacks", "w+b") as file:
        torch.nn.Sequential(_Dumps(file))(torch.ones(1))
    whole = tail_of(tmp_path / "stacks", 100_000)
    ours = f'  File "{Path(subject_error.__code__.co_filename)}", line 1 in x'
    text = users_stacks(
        f"Fatal Python error: Aborted\n\n{whole}\nThread 0x1 (most recent call first):\n{ours}\n\nExtension modules: a, b"
    )
    assert "_call_impl" in text
    assert "test_isolation_parts.py" in text
    assert gradcheck_suite.__path__[0] + os.sep not in text
    assert "Extension modules" not in text
    assert "Thread 0x1 " not in text
    assert stage_in(text) == "forward"
    assert (stage_in("File torch/autograd/graph.py"), stage_in("File torch/optim/sgd.py"), stage_in("")) == ("backward", "step", "")


def test_threads_in_stacks_bear_numbers() -> None:
    frame = '  File "/home/me/model.py", line 3 in forward'
    last = "(most recent call first):"
    text = users_stacks(f"Thread 0x7f4c58 {last}\n{frame}\n\nCurrent thread 0x7f0a12 {last}\n{frame}\n")
    assert "0x7f" not in text
    assert "Thread 1 (most" in text
    assert "Current thread 2 (most" in text


def test_records_that_were_cut_short_do_not_silence_those_that_follow(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path, NONCE), Reader(tmp_path, NONCE)
    recorder.write(stage="a stage with a long name")
    assert len(reader.new()) == 1
    os.truncate(tmp_path / FILE, 0)
    recorder.write(done="x")
    assert reader.new() == [{"done": "x"}]


def test_one_of_our_errors_that_the_model_raises_is_the_model_s() -> None:
    def caught(raising: Any) -> NotApplicable | SubjectError:
        try:
            raising()
        except Exception as error:
            return subject_error(error, "some_probe")
        raise AssertionError

    def forging() -> None:
        raise NotApplicable("nothing to see here")

    def empty() -> None:
        filled(Setup(nn.Linear(2, 2), Batch((torch.ones(0, 2),))))

    assert isinstance(caught(empty), NotApplicable)
    assert isinstance(caught(forging), SubjectError)


class _Dumps(nn.Module):
    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        faulthandler.dump_traceback(self.file)
        return x


def test_blame_names_stage_module_and_line() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise LookupError("lost")

    with pytest.raises(LookupError) as caught:
        nn.Sequential(nn.Identity(), nn.Sequential(Inner()))(torch.ones(1))
    said = subject_error(caught.value, "p")
    assert isinstance(said, SubjectError)
    assert (said.stage, said.module) == ("forward", "1.0")
    assert "the model raised LookupError: lost, at " in str(said)
    assert "test_isolation_parts.py" in str(said)
    with pytest.raises(RuntimeError) as again:
        (torch.ones(2, requires_grad=True) * 2).backward()
    assert subject_error(again.value, "p").stage == "backward"  # type: ignore[union-attr]
    with pytest.raises(RuntimeError) as memory:
        torch.zeros(1 << 45)
    assert "ran out of memory" in str(subject_error(memory.value, "p"))
