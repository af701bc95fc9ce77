"""One update step beside parameter - learning rate * gradient."""

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import check_update

GENERATOR = np.random.default_rng(2)
PARAMETERS = {"W": GENERATOR.normal(size=(3, 4)), "b": np.zeros(4)}
GRADIENTS = {"W": GENERATOR.normal(size=(3, 4)), "b": GENERATOR.normal(size=4)}


def step(factor):
    def update(parameters, gradients, learning_rate):
        return {name: value - factor(learning_rate) * gradients[name] for name, value in parameters.items()}

    return update


def in_place(parameters, gradients, learning_rate):
    for name in parameters:
        parameters[name] -= learning_rate * gradients[name]


@pytest.mark.parametrize("update", [step(lambda rate: rate), in_place])
def test_gradient_descent_holds(update):
    kept = {name: value.copy() for name, value in PARAMETERS.items()}
    report = check_update(update, PARAMETERS, GRADIENTS, 0.1)
    assert report.ok
    assert report.findings[0].places == 2
    assert all(np.array_equal(PARAMETERS[name], value) for name, value in kept.items())


@pytest.mark.parametrize(("factor", "words"), [
    (lambda rate: -rate, "up the gradient"),
    (lambda rate: 1.0, "leaves out the learning rate"),
    (lambda rate: rate**2, "learning rate twice"),
    (lambda rate: 0.0, "not updated"),
    (lambda rate: 1.5 * rate, "1.5 times the one due"),
    (lambda rate: np.nan, "not finite"),
])
def test_a_wrong_step_is_named(factor, words):
    report = check_update(step(factor), PARAMETERS, GRADIENTS, 0.1)
    assert {finding.where.parameter for finding in report.findings if finding.verdict is Verdict.VIOLATED} == {"W", "b"}
    assert all(words in finding.evidence.note for finding in report.findings)
    assert "again" in report.findings[0].reproduce
    assert not report.ok


def test_one_wrong_parameter_among_right_ones():
    def forgetful(parameters, gradients, learning_rate):
        return {"W": parameters["W"] - learning_rate * gradients["W"], "b": parameters["b"]}

    report = check_update(forgetful, PARAMETERS, GRADIENTS, 0.1)
    assert {(finding.where.parameter, finding.verdict) for finding in report.findings} == {
        ("W", Verdict.HOLDS), ("b", Verdict.VIOLATED)}


def test_a_step_of_no_multiple_of_the_gradient():
    def signed(parameters, gradients, learning_rate):
        return parameters - learning_rate * np.sign(gradients)

    report = check_update(signed, PARAMETERS["W"], GRADIENTS["W"], 0.1)
    assert "no multiple" in report.findings[0].evidence.note


def test_a_parameter_with_a_zero_gradient_must_stay():
    assert check_update(in_place, {"W": np.ones(2)}, {"W": np.zeros(2)}, 0.1).ok
    assert not check_update(lambda p, g, lr: p + 1e-3, np.ones(2), np.zeros(2), 0.1).ok


def test_a_step_below_the_rounding_of_the_parameter_is_inconclusive():
    report = check_update(in_place, {"W": np.full(2, 1e12)}, {"W": np.full(2, 1e-6)}, 0.1)
    assert report.findings[0].verdict is Verdict.INCONCLUSIVE
    assert not report.ok


def test_gradients_that_the_update_changes_are_an_indicator():
    def spoiling(parameters, gradients, learning_rate):
        gradients *= learning_rate
        return parameters - gradients

    report = check_update(spoiling, PARAMETERS["W"], GRADIENTS["W"], 0.1)
    changed = [finding for finding in report.findings if finding.verdict is Verdict.VIOLATED]
    assert [(finding.level, finding.where.parameter) for finding in changed] == [(Level.INDICATOR, "parameters")]
    assert report.ok


def test_an_update_that_raises_is_an_error():
    report = check_update(lambda p, g, lr: p / [], PARAMETERS["W"], GRADIENTS["W"], 0.1)
    assert report.findings[0].verdict is Verdict.ERROR
    assert "stage: update" in report.findings[0].reason
