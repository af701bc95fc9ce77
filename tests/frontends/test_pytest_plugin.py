"""The plugin, through pytester: ids, verdicts, workers, reports, property files."""

import json
import re
from pathlib import Path

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.commands.informing import new
from tests.frontends.models import SOUND, WRONG

QUICK = ("--gradcheck-budget", "quick", "--gradcheck-select", "backprop-agreement", "--gradcheck-select", "gradient-determinism")
WORKERS = pytest.mark.parametrize("workers", ["0", "2"])


@pytest.fixture
def project(pytester):
    pytester.makepyfile(net=WRONG, test_plain="def test_plain():\n    pass\n")
    pytester.syspathinsert()
    return pytester


@WORKERS
def test_one_id_per_target_and_property(project, workers):
    result = project.runpytest_subprocess("--gradcheck", "net:build", "-n", workers, "-v", *QUICK)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(["*gradcheck::net:build::correctness/backprop-agreement*"])


@WORKERS
def test_a_wrong_gradient_fails_with_the_finding_as_text_and_the_report_is_written(project, workers):
    result = project.runpytest_subprocess("--gradcheck", "net:build_wrong", "-n", workers, "--gradcheck-report", "html", *QUICK)
    result.assert_outcomes(passed=2, failed=1)
    text = result.stdout.str()
    assert "ScaledTanh" in text
    assert "1.01" in text
    assert "Traceback" not in text
    (page,) = Path(project.path).glob("reports/*/report.html")
    data = json.loads((page.parent / "report.json").read_text())
    assert data["summary"]["violated"] == 1
    assert data["run"]["complete"]


@WORKERS
def test_a_crashing_model_fails_its_check_and_nothing_else(project, workers):
    result = project.runpytest_subprocess("--gradcheck", "net:crash", "--gradcheck", "net:build", "-n", workers, *QUICK)
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 2
    assert outcomes["passed"] == 3


def test_a_failure_is_replayed_until_it_is_fixed(project, capsys):
    from gradcheck_suite.commands.replaying import replay

    result = project.runpytest_subprocess("--gradcheck", "net:crash", "--gradcheck", "net:build_wrong", *QUICK)
    printed = re.findall(r"VIOLATED.*?gradcheck replay (\w+)", result.stdout.str(), re.DOTALL)
    crashed = re.findall(r"ERROR.*?gradcheck replay (\w+)", result.stdout.str(), re.DOTALL)
    runs = Path(project.path) / "reports"
    assert not list(runs.glob("*/report.*"))
    assert replay(printed[-1], runs) == 1
    assert replay(crashed[0], runs) == 1
    told = capsys.readouterr().out
    assert "\nSTILL FAILS here\n" in told
    assert "STILL FAILS: the check ended with an error, as it did" in told
    project.makepyfile(net=WRONG.replace("1.01", "1.0"))
    assert replay(printed[-1], runs) == 0
    assert "FIXED: the statement holds" in capsys.readouterr().out
    (Path(project.path) / "net.py").unlink()
    assert replay(printed[-1], runs) == 2
    assert "CANNOT RUN: the target 'net:build_wrong' could not be imported" in capsys.readouterr().out


def test_k_chooses_among_the_checks(project):
    result = project.runpytest_subprocess("--gradcheck", "net:build", "-k", "determinism", *QUICK)
    result.assert_outcomes(passed=1, deselected=2)


def test_a_bad_target_is_a_usage_error(project):
    result = project.runpytest_subprocess("--gradcheck", "net", *QUICK)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'net' is not a target*"])


@WORKERS
def test_a_misspelt_factory_is_one_usage_error(project, workers):
    result = project.runpytest_subprocess("--gradcheck", "net:buld", "--gradcheck-isolation", "none", "-n", workers, *QUICK)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count("has no attribute 'buld'") == 1
    result.stderr.fnmatch_lines(["*Did you mean 'build'*"])
    assert "failed" not in result.stdout.str()


CONFIGURED = '''
[tool.gradcheck_suite]
budget = "quick"
isolation = "none"
properties = ["own"]
select = ["numerics/finite-gradients", "mine"]
ignore = ["numerics"]

[tool.gradcheck_suite.targets."net:build"]
mode = "both"

[tool.gradcheck_suite.targets."net:build_wrong"]
select = ["gradient-determinism", "backprop-agreement"]
ignore = ["backprop-agreement"]
'''


def test_the_configuration_counts_and_options_win_over_it(project):
    new("mine/own_statement", Path(project.path) / "own")
    project.makepyprojecttoml(CONFIGURED)
    words = ("--gradcheck", "net:build", "--gradcheck", "net:build_wrong", "--collect-only", "-q")
    result = project.runpytest_subprocess(*words)
    items = [line for line in result.outlines if line.startswith("gradcheck::")]
    assert items == [*(f"gradcheck::net:build ({mode})::mine/own-statement" for mode in ("train", "eval")),
                     "gradcheck::net:build_wrong::correctness/gradient-determinism"]
    result = project.runpytest_subprocess(*words, "--gradcheck-select", "finite-gradients", "--gradcheck-ignore", "mine",
                                          "--gradcheck-mode", "eval")
    items = [line for line in result.outlines if line.startswith("gradcheck::")]
    assert items == [f"gradcheck::{name}::numerics/finite-gradients" for name in ("net:build", "net:build_wrong")]


def test_a_mistake_in_the_configuration_is_a_usage_error(project):
    project.makepyprojecttoml("[tool.gradcheck_suite]\nselct = []\n")
    result = project.runpytest_subprocess("--gradcheck", "net:build")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Did you mean 'select'*"])


def test_options_reach_the_model_and_what_was_stopped_is_incomplete(project):
    project.makepyfile(net=WRONG + '''

def double(output, targets):
    raise RuntimeError("the loss was called")
''')
    result = project.runpytest_subprocess("--gradcheck", "net:build", "--gradcheck-loss", "net:double", "--gradcheck-isolation", "none",
                                          "--gradcheck-report", "json", "-x", *QUICK)
    result.assert_outcomes(failed=1, passed=1)
    assert "the loss was called" in result.stdout.str()
    (path,) = Path(project.path).glob("reports/*/report.json")
    run = json.loads(path.read_text())["run"]
    assert (run["complete"], run["checks_done"], run["checks_planned"]) == (False, 1, 2)
    assert run["seconds"] > 0


def test_a_foreign_file_that_speaks_of_properties_is_left_alone(pytester):
    pytester.mkpydir("estate")
    (Path(pytester.path) / "estate" / "houses.py").write_text('"""Houses."""\nfrom lots import Property\nPROPERTY = Property(3)\n')
    pytester.makepyfile("def test_plain():\n    pass\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@WORKERS
def test_parametrize_gives_one_id_per_property(pytester, workers):
    pytester.makepyfile(net=SOUND, test_net='''
        from gradcheck_suite import parametrize
        from net import build

        @parametrize(build, select=["correctness/backprop-agreement"], budget="quick")
        def test_net(check):
            check()
    ''')
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess("-n", workers, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines_random(["*test_net[[]correctness/backprop-agreement]*"])


def test_parametrize_fails_with_the_finding(pytester):
    pytester.makepyfile(net=WRONG, test_net='''
        from gradcheck_suite import parametrize
        from net import build_wrong

        @parametrize(build_wrong, select=["backprop-agreement"], budget="quick")
        def test_net(check):
            check()
    ''')
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert "ScaledTanh" in result.stdout.str()


@WORKERS
def test_a_property_file_is_a_test_file(pytester, workers):
    entry = next(entry for entry in catalogue.entries() if entry.name == "correctness/gradient-determinism")
    result = pytester.runpytest_subprocess(str(entry.path), "-n", workers)
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] >= 5
    assert set(outcomes) == {"passed"}


def test_the_catalogue_is_collected_by_package_name(pytester):
    result = pytester.runpytest_subprocess("--pyargs", "gradcheck_suite.properties", "--collect-only", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(["*backprop_agreement.py*is documented*"])


def test_a_session_without_the_plugin_s_options_is_left_alone(pytester):
    pytester.makepyfile(test_light='''
        import sys

        def test_nothing_heavy_is_loaded():
            assert not {"torch", "numpy", "scipy", "matplotlib"} & set(sys.modules)
    ''')
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)
