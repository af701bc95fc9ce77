"""The statements, their captures and their report keep the contracts of the rest, without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.api import check_gradient as public
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.handwritten_chain import HandwrittenChain
from gradcheck_suite.captures.handwritten_derivative import Comparison, HandwrittenDerivative, Place
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.handwritten import check_gradient, check_update
from gradcheck_suite.handwritten.checks import ALONE, CHAIN, UPDATE
from gradcheck_suite.handwritten.experiment import measured
from gradcheck_suite.handwritten.functions import FunctionUnit
from gradcheck_suite.handwritten.source import statement
from gradcheck_suite.handwritten.updates import update_step
from gradcheck_suite.schema import load

X = np.random.default_rng(1).normal(size=(4, 3))

WITHOUT_TORCH = """
import sys
import numpy as np
from gradcheck_suite import check_gradient
from gradcheck_suite.core.text import report_text
from gradcheck_suite.handwritten import check_layer
report = check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones((2, 2)))
assert not report.ok and "1.5 times" in report_text(report)
print([name for name in ("torch", "scipy", "hypothesis", "matplotlib", "pydantic") if name in sys.modules])
"""


def test_nothing_heavy_is_imported():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [*ALONE, *CHAIN, *UPDATE])
def test_every_statement_is_documented(name):
    prop = statement(name)
    assert prop.name == name.replace("_", "-")
    assert prop.statement.endswith(".")
    assert [title for title in catalogue.SECTIONS if not prop.sections.get(title)] == []
    assert prop.symptoms


def test_no_statement_has_the_name_of_one_in_the_catalogue():
    names = {entry.id for entry in catalogue.entries()}
    assert not names & {statement(name).id for name in (*ALONE, *CHAIN, *UPDATE)}


def part(gradient):
    return measured(FunctionUnit(lambda x: np.abs(x).sum(), gradient, X), BUDGETS["standard"], 3)


@pytest.mark.parametrize("gradient", [np.sign, lambda x: 2 * np.sign(x), lambda x: np.full(x.shape, np.nan)])
def test_captures_travel(gradient):
    captures = [HandwrittenDerivative(parts=(part(gradient),)), HandwrittenChain(part=part(gradient)),
                update_step(lambda p, g, lr: p, X, X, 0.1)]
    for capture in captures:
        assert repr(decode(encode(capture))) == repr(capture)


def test_findings_travel_as_json(tmp_path):
    report = check_gradient(lambda x: np.abs(x).sum(), lambda x: np.full(x.shape, np.inf), X, name="<b>&\ud800")
    path = report.to_json(tmp_path / "report.json")
    restored = load(Report, json.loads(path.read_text()))
    assert to_data(restored) == to_data(report)
    assert restored.summary["violated"] == 1


def test_the_page_is_written_and_names_are_escaped(tmp_path):
    report = check_gradient(lambda x: np.abs(x).sum(), lambda x: x, X, name="<b>bold</b>")
    page = report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>bold</b>" not in page
    assert "handwritten-agreement" in page


def test_the_report_says_what_was_asked():
    report = public(lambda x: (x**2).sum(), lambda x: 2 * x, X, seed=5, name="square", budget="quick")
    assert report.run.command == ("check_gradient", "square")
    assert (report.run.seed, report.run.budget, report.run.complete) == (5, "quick", True)
    assert [subject.name for subject in report.subjects] == ["square"]
    assert check_update(lambda p, g, lr: p - lr * g, X, X, 0.5, name="step").run.command == ("check_update", "step")


def comparison(**facts):
    usual = {"radius": 0.0, "analytic": 1.0, "analytic_error": 0.0, "numeric": 1.0, "numeric_error": 1e-9, "jump": 0.0, "jump_error": 1e-9,
             "scale": 1.0, "noise": 0.0, "evaluations": 26}
    return Comparison(**{**usual, **facts})


@pytest.mark.parametrize(("facts", "outcome"), [
    ({}, "agrees"),
    ({"analytic": 1.001}, "disagrees"),
    ({"analytic": 1.001, "jump": 0.5}, "kinked"),
    ({"analytic": 1.001, "jump": 0.5, "jump_error": 0.2}, "disagrees"),
    ({"analytic": 1.001, "jump": 1e-6}, "disagrees"),
    ({"jump": 0.5}, "agrees"),
    ({"numeric_error": 1e-3}, "open"),
    ({"numeric": np.nan, "numeric_error": np.inf}, "open"),
    ({"numeric_error": np.inf}, "open"),
    ({"analytic": np.nan}, "disagrees"),
    ({"analytic": np.nan, "numeric": np.nan, "numeric_error": np.inf}, "open"),
    ({"analytic": 0.0, "numeric": 0.0, "numeric_error": 0.0, "scale": 0.0}, "agrees"),
])
def test_what_one_comparison_says(facts, outcome):
    assert comparison(**facts).outcome(1e-4) == outcome


RIGHT, WRONG = comparison(radius=0.1), comparison(radius=0.1, analytic=2.0)
UNCLEAR = comparison(radius=0.1, numeric_error=1.0)


@pytest.mark.parametrize(("at", "nearby", "status"), [
    ({}, (), "agrees"),
    ({"analytic": 2.0}, (WRONG, WRONG, RIGHT), "disagrees"),
    ({"analytic": 2.0}, (WRONG, RIGHT, RIGHT), "exceptional"),
    ({"analytic": 1.00001}, (WRONG, RIGHT, RIGHT), "agrees-nearby"),
    ({"analytic": 2.0}, (WRONG, UNCLEAR, RIGHT), "open"),
    ({"analytic": 2.0}, (), "open"),
    ({"analytic": 2.0, "jump": 1.0}, (WRONG, WRONG, RIGHT), "disagrees-nearby"),
    ({"analytic": 2.0, "jump": 1.0}, (RIGHT, RIGHT, UNCLEAR), "agrees-nearby"),
    ({"numeric_error": 1.0}, (UNCLEAR, UNCLEAR, UNCLEAR), "open"),
])
def test_what_all_comparisons_say_together(at, nearby, status):
    place = Place(module=None, parameter="x", shape=(1,), at=(comparison(), comparison(**at)), nearby=nearby)
    assert place.settled(1e-4)[0] == status


def test_a_kink_along_another_direction_explains_a_disagreement_at_x():
    at = (comparison(analytic=2.0), comparison(analytic=1.5, jump=1.0))
    place = Place(module=None, parameter="x", shape=(3,), at=at, nearby=(RIGHT, RIGHT, RIGHT))
    assert place.settled(1e-4)[0] == "agrees-nearby"
