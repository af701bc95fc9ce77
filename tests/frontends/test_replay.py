"""Replaying a finding and resuming a run: the place decides, the limits stay, and nothing is mixed silently."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from gradcheck_suite.commands.replaying import judged
from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where
from gradcheck_suite.core.finding import Finding
from tests.frontends.models import WRONG

SLOW = """

def slow():
    import time

    class Slow(torch.nn.Linear):
        def forward(self, x):
            time.sleep(60)
            return super().forward(x)

    return Slow(2, 2), (torch.randn(2, 2),)
"""

INDICATOR = '''"""There are a thousand parameters."""

from gradcheck_suite.core.evidence import Evidence, Level
from gradcheck_suite.core.property import Property


def measure(backward_pass):
    return Evidence(quantity="parameters", value=float(len(backward_pass.parameter_gradient_nonfinite)), error=0.0, low=1e3, high=1e9)


PROPERTY = Property(measure=measure, level=Level.INDICATOR)
'''


def at(module, verdict=Verdict.VIOLATED):
    evidence = Evidence(quantity="q", value=1.0, error=0.0, low=0.0, high=0.0, where=Where(module=module))
    return Finding(id=f"id{module}", property="p", family="f", level=Level.REQUIREMENT, symptoms=(), subject="s", verdict=verdict,
                   message="", where=evidence.where, evidence=evidence, reason="no time axis")


@pytest.mark.parametrize(("asked", "now", "words", "code"), [
    (at("a"), [at("a"), at("b")], "STILL FAILS here", 1),
    (at("a"), [at("b")], "FIXED here, fails elsewhere: b", 1),
    (at("a"), [at("b"), at("a", Verdict.INCONCLUSIVE)], "INCONCLUSIVE here, fails elsewhere: b", 1),
    (None, [at("b")], "STILL FAILS", 1),
    (at("a"), [at("", Verdict.HOLDS)], "FIXED: the statement holds", 0),
    (at("a"), [at("", Verdict.HOLDS), at("a", Verdict.INCONCLUSIVE)], "INCONCLUSIVE", 4),
    (at("a"), [at("a", Verdict.INCONCLUSIVE)], "INCONCLUSIVE", 4),
    (at("a"), [replace(at("", Verdict.NOT_APPLICABLE), evidence=None)], "NOT APPLICABLE: no time axis", 5),
    (at("a"), [at("a", Verdict.ERROR)], "CANNOT RUN: the check ended with an error", 1),
])
def test_what_a_replay_says(asked, now, words, code):
    assert judged(asked, [at("a"), at("b")], now) == (words, code)


@pytest.fixture
def gradcheck(tmp_path):
    (tmp_path / "net.py").write_text(WRONG + SLOW)

    def run(*arguments):
        command = [sys.executable, "-m", "gradcheck_suite", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)

    return run


def test_the_printed_command_replays_the_finding_where_the_run_is(gradcheck, tmp_path):
    done = gradcheck("audit", "net.py:build_wrong", "-s", "backprop-agreement", "-b", "quick", "-o", "my runs", "--json", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    (bad,) = [f for f in json.loads((tmp_path / "out.json").read_text())["findings"] if f["verdict"] == "violated"]
    assert bad["reproduce"] == f"gradcheck replay {bad['id']} -o 'my runs'"
    again = gradcheck("replay", bad["id"], "-o", "my runs")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (1, "STILL FAILS here")


def test_a_finding_that_ran_out_of_time_does_so_again(gradcheck, tmp_path):
    gradcheck("audit", "net.py:slow", "-s", "finite-gradients", "-b", "quick", "--timeout", "2", "--json", "out.json")
    (found,) = json.loads((tmp_path / "out.json").read_text())["findings"]
    assert found["verdict"] == "error"
    again = gradcheck("replay", found["id"])
    assert again.returncode == 1
    assert "STILL FAILS" in again.stdout


def test_a_resumed_run_is_asked_what_it_was_asked(gradcheck, tmp_path):
    words = ("-s", "finite-gradients", "-s", "gradient-determinism", "-b", "quick", "--seed", "5", "-q")
    assert gradcheck("audit", "net.py:build", *words, "--isolation", "none").returncode == 0
    (run,) = (tmp_path / "reports").iterdir()
    results = run / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join(lines[:5]))
    done = gradcheck("audit", "--resume", run.name, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((run / "report.json").read_text())
    assert (report["run"]["seed"], report["run"]["budget"]) == (5, "quick")
    assert {finding["property"] for finding in report["findings"]} == {"finite-gradients", "gradient-determinism"}
    for other, words in ((("--seed", "6"), "--seed 5, not 6"), (("-b", "standard"), "--budget quick, not standard"),
                         (("net.py:build_wrong",), "net.py:build, not net.py:build_wrong"), (("-s", "purity"), "not purity")):
        refused = gradcheck("audit", "--resume", run.name, *other)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert f"Write: gradcheck audit --resume {run.name}" in refused.stderr


def test_a_search_tells_what_it_did_not_search(gradcheck, tmp_path):
    done = gradcheck("search", "-s", "pooling-isometry", "-s", "optimizer-coverage", "-b", "quick", "-q", "-o", "mine",
                     "--json", "out.json", "--plant", "scaled-backward")
    assert done.returncode == 1, done.stdout + done.stderr
    found = {finding["property"]: finding for finding in json.loads((tmp_path / "out.json").read_text())["findings"]}
    assert found["optimizer-coverage"]["verdict"] == "not-applicable"
    assert found["optimizer-coverage"]["reason"].startswith("not searched")
    assert found["pooling-isometry"]["reproduce"].endswith("--plant scaled-backward -o mine")


def test_a_run_that_fails_on_indicators_is_judged_alike_afterwards(gradcheck, tmp_path):
    (tmp_path / "own" / "mine").mkdir(parents=True)
    (tmp_path / "own" / "mine" / "many_outputs.py").write_text(INDICATOR)
    words = ("audit", "net.py:build", "-s", "many-outputs", "--properties", "own", "-b", "quick", "-q", "--junit", "out.xml")
    assert gradcheck(*words).returncode == 0
    done = gradcheck(*words, "--fail-on", "indicator")
    assert done.returncode == 1
    assert 'failures="1"' in (tmp_path / "out.xml").read_text()
    assert "1 indicator is violated in net.py:build" in done.stdout
    first, second = sorted((tmp_path / "reports").iterdir())
    codes = {gradcheck("report", str(run), *more).returncode for run, more in ((first, ("--fail-on", "indicator")), (second, ()))}
    assert codes == {1}


def test_runs_that_are_merged_fail_on_what_the_strictest_of_them_fails_on(tmp_path):
    from gradcheck_suite.commands.results import judged as judged_anew
    from gradcheck_suite.commands.results import merged
    from tests.reporting import samples

    paths = []
    for level in Level:
        run = replace(samples.RUN, fail_on=level)
        paths.append(samples.report_of([samples.dead_units()], run=run).to_json(tmp_path / f"{level}.json"))
    assert merged(paths).exit_code() == merged(paths[::-1]).exit_code() == 1
    assert merged(paths[:1]).exit_code() == 0
    assert judged_anew(merged(paths[:1]), Level.INDICATOR).exit_code() == 1
