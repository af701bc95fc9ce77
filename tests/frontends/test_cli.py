"""The command line as a user sees it: exit codes, files, messages."""

import json
import subprocess
import sys

import pytest

from tests.frontends.models import WRONG

FAST = ("--select", "backprop-agreement", "--budget", "quick")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(WRONG)
    return tmp_path


@pytest.fixture
def gradcheck(folder):
    def run(*arguments):
        command = [sys.executable, "-m", "gradcheck_suite", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)

    return run


def findings(path):
    return json.loads(path.read_text())["findings"]


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_an_audit_of_a_sound_model_ends_with_zero_and_prints_where_the_page_is(gradcheck, folder, isolation):
    done = gradcheck("audit", "net.py:build", *FAST, "--isolation", isolation)
    assert done.returncode == 0, done.stdout + done.stderr
    page = done.stdout.split("Report: ")[1].splitlines()[0]
    assert (folder / page).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_a_wrong_backward_ends_with_one_and_is_named(gradcheck, folder, isolation):
    done = gradcheck("audit", "net.py:build_wrong", *FAST, "--isolation", isolation, "--json", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    (bad,) = [f for f in findings(folder / "out.json") if f["verdict"] == "violated"]
    assert (bad["where"]["module"], bad["where"]["function"]) == ("1", "ScaledTanh")
    assert bad["where"]["source"].split(":")[0].endswith("net.py")
    assert "1.01" in done.stdout


def test_a_model_that_leaves_silently_is_an_error_and_never_green(gradcheck, folder):
    done = gradcheck("audit", "net.py:crash", *FAST, "--json", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert findings(folder / "out.json")[0]["verdict"] == "error"
    done = gradcheck("audit", "net.py:crash", *FAST, "--input", "2x3", "--json", "given.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exit code 0" in findings(folder / "given.json")[0]["reason"]


@pytest.mark.parametrize(("arguments", "words"), [
    (("audit",), ["no target was given", "pkg.module:factory"]),
    (("audit", "net.py"), ["is not a target", "net.py:NAME"]),
    (("audit", "nowhere.py:build"), ["does not exist"]),
    (("audit", "net.py:missing"), ["missing"]),
    (("audit", "net.py:raises"), ["RuntimeError", "no weights today", "net.py"]),
    (("audit", "net.py:build", "--select", "bakprop-agreement"), ["Did you mean 'backprop-agreement'"]),
    (("audit", "net.py:build", "--input", "8x7"), ["8x7", "shapes cannot be multiplied", "the module '0'", "it runs on --input 4x6"]),
    (("audit", "net.py:build", "--budget", "huge"), ["huge"]),
    (("audit", "net.py:build", "--json", "."), ["is a folder"]),
    (("report", "nowhere"), ["holds no run"]),
    (("explain", "vanishng"), ["Did you mean"]),
    (("new", "Nonsense"), ["family/name"]),
    (("search", "--plant", "nonsense"), ["nonsense"]),
])
def test_bad_input_gets_one_clear_message_and_exit_code_two(gradcheck, arguments, words):
    done = gradcheck(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_finds_and_shrinks_a_planted_defect_and_its_script_shows_it(gradcheck, folder):
    done = gradcheck("search", "--plant", "scaled-backward", *FAST, "--json", "out.json")
    assert done.returncode == 1, done.stdout + done.stderr
    (bad,) = [f for f in findings(folder / "out.json") if f["verdict"] == "violated"]
    (script,) = [e for e in bad["evidence"]["exhibits"] if e.get("language") == "python"]
    (folder / "script.py").write_text(script["text"])
    shown = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout
    ratios = [float(line.split()[-1]) for line in shown.split("ratio\n")[1].splitlines() if len(line.split()) == 5]
    assert any(abs(ratio - 1) > 1e-3 for ratio in ratios), shown


def test_a_search_without_a_defect_says_not_falsified(gradcheck, folder):
    done = gradcheck("search", *FAST, "--json", "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not falsified: it holds in" in findings(folder / "out.json")[0]["message"]


def test_report_renders_a_finished_run_without_torch(gradcheck, folder):
    gradcheck("audit", "net.py:build_wrong", *FAST)
    (run,) = (folder / "reports").iterdir()
    code = ("import sys\nfrom gradcheck_suite.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
            "    print('CODE', end.code, 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, "report", str(run), "-o", "all.html"], cwd=folder, capture_output=True, text=True,
                          check=True)
    assert "CODE 1 False" in done.stdout
    assert (folder / "all.html").exists()


def test_two_runs_merge_and_compare(gradcheck, folder):
    gradcheck("audit", "net.py:build", *FAST, "--json", "a.json")
    gradcheck("audit", "net.py:build_wrong", *FAST, "--json", "b.json")
    assert gradcheck("report", "a.json", "b.json", "-o", "all.html").returncode == 1
    assert "a.json" not in gradcheck("compare", "a.json", "a.json").stdout
    assert gradcheck("compare", "a.json", "a.json").returncode == 0
    assert gradcheck("compare", "a.json", "b.json").returncode == 1


def test_list_finds_by_symptom_and_explain_tells_all_sections(gradcheck):
    assert "initialization/gradient-scale-across-depth" in gradcheck("list", "vanishing").stdout
    told = gradcheck("explain", "backprop-agreement").stdout
    assert all(title in told for title in ("Conditions", "When violated", "Sources"))


def test_configuration_is_read_and_its_mistakes_are_told(gradcheck, folder):
    (folder / "pyproject.toml").write_text('[tool.gradcheck_suite]\nselect = ["backprop-agreement"]\nbudget = "quick"\n'
                                           '[tool.gradcheck_suite.targets."net.py:build"]\nmode = "eval"\n')
    assert gradcheck("audit").returncode == 0
    (folder / "pyproject.toml").write_text('[tool.gradcheck_suite]\nbudget = "quick"\n[tool.gradcheck_suite.targets."net.py:build"]\n'
                                           'select = ["gradient-determinism"]\n')
    done = gradcheck("audit", "net.py:build", "net.py:build_wrong", "-s", "finite-gradients", "--json", "given.json")
    assert {finding["property"] for finding in json.loads((folder / "given.json").read_text())["findings"]} == {"finite-gradients"}
    gradcheck("audit", "--json", "own.json")
    assert {finding["property"] for finding in json.loads((folder / "own.json").read_text())["findings"]} == {"gradient-determinism"}
    (folder / "pyproject.toml").write_text('[tool.gradcheck_suite]\nselct = []\n')
    done = gradcheck("audit", "net.py:build")
    assert done.returncode == 2
    assert "Did you mean 'select'" in done.stderr


def test_list_and_explain_know_the_folders_of_the_configuration(gradcheck, folder):
    assert gradcheck("new", "mine/own_statement", "--folder", "own").returncode == 0
    (folder / "pyproject.toml").write_text('[tool.gradcheck_suite]\nproperties = ["own"]\n')
    assert "mine/own-statement" in gradcheck("list", "mine").stdout
    assert "own_statement.py" in gradcheck("explain", "own-statement").stdout


def test_a_new_property_runs_and_keeps_its_contract(gradcheck, folder):
    assert gradcheck("new", "mine/finite_gradients_everywhere").returncode == 0
    command = [sys.executable, "-m", "pytest", "-q", "gradient_properties"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_doctor_tells_what_the_machine_gives(gradcheck):
    done = gradcheck("doctor")
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("torch", "cores", "catalogue"))


def test_a_broken_target_does_not_take_its_sibling_along(gradcheck, folder):
    done = gradcheck("audit", "net.py:raises", "net.py:build", *FAST, "--json", "out.json")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no weights today" in done.stderr
    assert [f["verdict"] for f in findings(folder / "out.json")] == ["holds"]


def test_files_that_were_asked_for_say_that_the_only_target_could_not_be_built(gradcheck, folder):
    (folder / "bad.py").write_text("def build():\n    raise RuntimeError('no weights')\n")
    done = gradcheck("audit", "bad.py:build", *FAST, "--junit", "out.xml", "--markdown", "out.md")
    assert done.returncode == 2
    assert 'errors="1"' in (folder / "out.xml").read_text()
    assert "no weights" in (folder / "out.xml").read_text()
    assert "1 target could not be built" in (folder / "out.md").read_text()
