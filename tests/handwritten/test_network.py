"""Networks of layers: each alone, the loss, then the chain; the wrong one is named."""

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import check_network
from tests.handwritten.reading import of, only, violations
from tests.handwritten.specimens import BatchNorm, CrossEntropy, Dense, Dropout, Forgetful, InPlaceReLU, ReLU

GENERATOR = np.random.default_rng(9)
X = GENERATOR.normal(size=(6, 4))
TARGETS = GENERATOR.integers(0, 3, 6)


def mse(output, targets):
    return ((output - np.eye(3)[targets]) ** 2).mean()


def mse_gradient(output, targets):
    return 2 * (output - np.eye(3)[targets]) / output.size


@pytest.mark.parametrize("loss", [CrossEntropy(), (mse, mse_gradient), lambda o, t: (mse(o, t), mse_gradient(o, t))],
                         ids=["object", "functions", "both"])
def test_a_right_network_holds_with_every_form_of_loss(loss):
    report = check_network([Dense(4, 5), ReLU(), Dropout(), BatchNorm(5), Dense(5, 3)], loss, X, TARGETS)
    assert not violations(report)
    assert only(report, "handwritten-chain").verdict is Verdict.HOLDS
    assert only(report, "handwritten-chain").places == 7
    assert report.ok


def test_the_wrong_layer_is_named_and_the_chain_is_not_judged():
    layers = {"input": Dense(4, 5), "hidden": Forgetful(), "output": Dense(5, 3)}
    report = check_network(layers, CrossEntropy(), X, TARGETS)
    assert [(f.where.module, f.where.parameter, f.where.function) for f in violations(report).values()] == [("hidden", "x", "Forgetful")]
    chain = only(report, "handwritten-chain")
    assert chain.verdict is Verdict.NOT_APPLICABLE
    assert "hidden" in chain.reason
    assert not report.ok


def test_a_wrong_loss_is_named():
    report = check_network([Dense(4, 3)], (mse, lambda o, t: mse_gradient(o, t) * len(t)), X, TARGETS)
    found = violations(report)["prediction"]
    assert found.where.module == "loss"
    assert "mean over 6 samples" in found.evidence.note


def test_an_object_used_twice_is_right_alone_and_wrong_in_the_chain():
    relu = ReLU()
    report = check_network([Dense(4, 4), relu, Dense(4, 4), relu, Dense(4, 3)], CrossEntropy(), X, TARGETS)
    assert not violations(report)
    wrong = {(f.where.module, f.where.parameter) for f in of(report, "handwritten-chain") if f.verdict is Verdict.VIOLATED}
    assert wrong == {(None, "x"), ("0", "W"), ("0", "b")}
    assert any("layers 1, 3 are one object" in note for note in report.run.notes)


def test_a_shared_parameter_gets_the_sum_of_its_gradients():
    first, second = Dense(4, 4), Dense(4, 4)
    second.params = first.params
    report = check_network([first, ReLU(), second], CrossEntropy(), X, np.zeros(6, dtype=int))
    assert only(report, "handwritten-chain").verdict is Verdict.HOLDS
    assert only(report, "handwritten-chain").places == 3


def test_a_changed_cotangent_is_an_indicator():
    report = check_network([Dense(4, 3), InPlaceReLU()], CrossEntropy(), X, TARGETS)
    found = next(f for f in of(report, "handwritten-arguments") if f.verdict is Verdict.VIOLATED)
    assert (found.level, found.where.module) == (Level.INDICATOR, "1")
    assert "cotangent" in found.evidence.note
    assert report.ok


def test_a_layer_that_raises_is_an_error_with_its_name():
    class Broken(ReLU):
        def backward(self, error):
            raise KeyError("kept")

    report = check_network({"a": Dense(4, 3), "b": Broken()}, CrossEntropy(), X, TARGETS)
    assert {f.verdict for f in report.findings} == {Verdict.ERROR}
    assert {f.where.module for f in of(report)} == {"b"}
