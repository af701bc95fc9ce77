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


@pytest.mark.parametrize("attempt", range(4))
def test_a_killed_run_is_resumed_to_the_same_findings(tmp_path: Path, attempt: int) -> None:
    targets = [*HEALTHY, f"{MODELS}/process.py:segfault_backward", f"{MODELS}/gradients.py:one_percent_too_large"]
    subprocess.run(command(tmp_path / "whole", *targets), check=False, capture_output=True, timeout=300)
    with subprocess.Popen(command(tmp_path / "parts", *targets), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        lines = random.Random(attempt).randint(2, 14)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            files = list((tmp_path / "parts").glob("*/results.jsonl"))
            if files and files[0].read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.005)
        process.kill()
    part = run_folder(tmp_path / "parts")
    with open(part / "results.jsonl", "r+b") as file:
        file.truncate(os.path.getsize(part / "results.jsonl") - attempt)
    subprocess.run(command(tmp_path / "parts", *targets, "--resume", str(part)), check=False, capture_output=True, timeout=300)
    assert findings(part) == findings(run_folder(tmp_path / "whole"))


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
    for _ in range(60):
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
