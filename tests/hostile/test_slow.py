"""Long ones: every harmful model in one run of the command, runs that are killed and resumed, a soak, and sizes."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.engine.isolation import launch
from gradcheck_suite.engine.sources import ChildSource, Limits
from gradcheck_suite.targets import Options, parse
from tests.hostile.table import MODELS, PROCESS

pytestmark = pytest.mark.slow

PROPERTY = "gradient-determinism"
HEALTHY = [f"{MODELS}/{file}.py:healthy" for file in ("process", "purity", "gradients", "structure")]


def command(folder: Path, *words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gradcheck_suite",
        "audit",
        *words,
        "--select",
        PROPERTY,
        "--budget",
        "quick",
        "--output-dir",
        str(folder),
    ]


def findings(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Verdicts, places and numbers by subject, without timings."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    found: dict[str, list[tuple[Any, ...]]] = {}
    for one in report["findings"]:
        number = one["evidence"]["value"] if one["evidence"] else None
        found.setdefault(one["subject"], []).append((one["id"], one["verdict"], one["where"]["module"], number))
    return {subject: sorted(map(str, each)) for subject, each in found.items()}


def run_folder(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if (path / "results.jsonl").exists())


def test_every_harmful_model_in_one_run(tmp_path: Path) -> None:
    targets = [f"{MODELS}/{case.file}.py:{case.name}" for case in PROCESS]
    words = ["--timeout", "4", "--memory", "700", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command(tmp_path, *targets, *words), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report["run"]["complete"]
    verdicts: dict[str, set[str]] = {}
    for finding in report["findings"]:
        verdicts.setdefault(finding["subject"].rpartition(":")[2], set()).add(finding["verdict"])
    assert verdicts == {case.name: {"error"} if case.words else {"holds"} for case in PROCESS}


KILLED = [*HEALTHY, f"{MODELS}/process.py:segfault_backward", f"{MODELS}/gradients.py:one_percent_too_large"]
KILLS = 50


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nobody disturbs, and how many seconds it took."""
    folder, began = tmp_path_factory.mktemp("whole"), time.monotonic()
    subprocess.run(command(folder, *KILLED), check=False, capture_output=True, timeout=300)
    return run_folder(folder), time.monotonic() - began


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_run_is_rendered_and_resumed_to_the_same_findings(tmp_path: Path, whole: tuple[Path, float], attempt: int) -> None:
    undisturbed, seconds = whole
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command(tmp_path, *KILLED), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        time.sleep(random.Random(attempt).uniform(0.0, 1.1 * seconds))
        process.kill()
    begun = list(tmp_path.glob("*/results.jsonl"))
    if begun:
        part = begun[0].parent
        with open(begun[0], "r+b") as file:  # the disk may have lost the end of what was written
            file.truncate(max(0, os.path.getsize(begun[0]) - attempt % 4))
        report = [sys.executable, "-m", "gradcheck_suite", "report", str(part)]
        rendered = subprocess.run(report, check=False, capture_output=True, text=True, timeout=120)
        assert rendered.returncode != 3, rendered.stderr
        assert (part / "report.html").exists()
    resumed = ["--resume", str(begun[0].parent)] if begun else []
    subprocess.run(command(tmp_path, *KILLED, *resumed), check=False, capture_output=True, timeout=300)
    assert findings(run_folder(tmp_path)) == findings(undisturbed)
    deadline = time.monotonic() + 60.0  # a fork server that was starting when its parent was killed ends once it has started
    while list(scratch.glob("gradcheck-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(scratch.glob("gradcheck-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_children_and_keeps_what_was_found(tmp_path: Path, number: int) -> None:
    targets = [HEALTHY[0], f"{MODELS}/process.py:ignores_everything"]
    with subprocess.Popen(command(tmp_path, *targets), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not any(
            path.read_bytes().count(b"subject-started") == 2 for path in tmp_path.glob("*/results.jsonl")
        ):
            time.sleep(0.02)
        time.sleep(2)
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert psutil.wait_procs(below, timeout=20)[1] == []
    report = json.loads((run_folder(tmp_path) / "report.json").read_text(encoding="utf-8"))
    assert not report["run"]["complete"]
    assert [finding["verdict"] for finding in report["findings"] if finding["subject"] == HEALTHY[0]]


SHUFFLING = """
import random


def pytest_collection_modifyitems(items):
    random.Random(5).shuffle(items)
"""


def timeless(path: Path) -> str:
    """A report as text, without the times, the id and the command of its run."""
    report = json.loads(path.read_text(encoding="utf-8"))
    for name in ("seconds", "started", "id", "command"):
        del report["run"][name]
    return json.dumps(report)


def test_workers_and_order_change_no_byte_of_the_findings(tmp_path: Path) -> None:
    (tmp_path / "shuffling.py").write_text(SHUFFLING)
    models = [*HEALTHY, f"{MODELS}/gradients.py:one_percent_too_large", f"{MODELS}/purity.py:dropout_in_train_mode"]
    words = [word for model in models for word in ("--gradcheck", model)]
    words += [word for family in ("correctness", "purity", "numerics") for word in ("--gradcheck-select", family)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    reports = []
    for number, how in enumerate((["-n", "0"], ["-n", "2"], ["-n", "4"], ["-n", "0", "-p", "shuffling"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        pytest_words = ["--gradcheck-budget", "quick", "--gradcheck-report", "json", "-q", "-p", "no:cacheprovider", *how]
        subprocess.run([sys.executable, "-m", "pytest", *words, *pytest_words], cwd=folder, env=environment, check=False,
                       capture_output=True, timeout=1200)
        (written,) = folder.glob("reports/*/report.json")
        reports.append(timeless(written))
    assert len(json.loads(reports[0])["findings"]) > 100
    assert reports == [reports[0]] * len(reports)


def test_the_same_command_twice_changes_no_byte_of_the_report(tmp_path: Path) -> None:
    targets = [HEALTHY[0], f"{MODELS}/gradients.py:one_percent_too_large", f"{MODELS}/process.py:segfault_backward"]
    reports = []
    for number in range(2):
        words = [sys.executable, "-m", "gradcheck_suite", "audit", *targets, "-b", "quick", "-q", "-o", str(tmp_path / str(number))]
        subprocess.run(words, check=False, capture_output=True, timeout=600)
        reports.append(timeless(run_folder(tmp_path / str(number)) / "report.json"))
    assert reports[0] == reports[1]


def test_a_soak_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(name: str) -> None:
        source = ChildSource(parse(f"{MODELS}/process.py:{name}"), Options(), budget("quick"), 0, Limits(seconds=20.0, repeats=1))
        if name == "healthy":
            assert source.capture("structure")
        else:
            with pytest.raises(SubjectError):
                source.capture("structure")
        source.close()

    def used() -> tuple[int, int, int]:
        server = psutil.Process(launch.server(["gradcheck_suite.targets"], 60.0).pid)
        return psutil.Process().num_fds(), server.num_fds(), len(list(tmp_path.glob("gradcheck-*")))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    once("healthy")
    server = psutil.Process(launch.server(["gradcheck_suite.targets"], 60.0).pid)
    before, memory = used(), server.memory_info().rss
    for _ in range(250):
        for name in ("healthy", "exit_zero_forward"):
            once(name)
    assert used() == before
    assert server.memory_info().rss < 1.2 * memory
    assert server.children() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("nested_too_deep", ""), ("hundred_million_parameters", "timed out|^$"), ("hundred_thousand_modules", "timed out|^$")],
)
def test_a_large_model_has_an_outcome(name: str, words: str) -> None:
    source = ChildSource(parse(f"{MODELS}/kinds.py:{name}"), Options(), budget("quick"), 0, Limits(seconds=30.0))
    try:
        assert source.facts.name.endswith(name)
        outcome = ""
        try:
            assert source.capture("backward_pass")
        except SubjectError as error:
            outcome = str(error)
        assert re.search(words or "^$", outcome)
    finally:
        source.close()
