"""Layers: parameters found, wrong gradients named, nothing left behind."""

import copy

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import WithParameters, check_layer, check_network
from tests.handwritten.reading import of, only, violations
from tests.handwritten.specimens import (
    Adding,
    Attributes,
    BatchNorm,
    Block,
    CrossEntropy,
    Dense,
    Doubled,
    Dropout,
    Lists,
    ReLU,
    Silent,
    Slotted,
)

GENERATOR = np.random.default_rng(8)
X = GENERATOR.normal(size=(6, 4))
TARGETS = GENERATOR.integers(0, 3, 6)


def places(report):
    found = only(report)
    assert found.verdict is Verdict.HOLDS, found.message
    return found.places


@pytest.mark.parametrize(("layer", "count"), [
    (Dense(4, 3), 3), (Lists(4, 3), 3), (Attributes(4, 3), 3), (Attributes(4, 3, "grad_{}"), 3), (Attributes(4, 3, "{}_grad"), 3),
    (Silent(4, 3), 3), (Adding(4, 3), 3), (Slotted(4), 2), (ReLU(), 1), (Dropout(), 1), (BatchNorm(4), 3),
], ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value))
def test_parameters_are_found_and_the_layer_is_left_as_it_was(layer, count):
    state = copy.deepcopy({name: getattr(layer, name, None) for name in dir(layer) if not name.startswith("__")})
    arrays = {name: id(value) for name, value in state.items() if isinstance(value, np.ndarray)}
    report = check_layer(layer, X)
    assert places(report) == count
    assert report.ok
    after = {name: getattr(layer, name, None) for name in dir(layer) if not name.startswith("__")}
    assert set(after) == set(state)
    for name in arrays:
        assert np.array_equal(after[name], state[name])
    if isinstance(layer, Dropout):
        assert layer.generator.bit_generator.state == state["generator"].bit_generator.state


def test_an_array_without_a_gradient_is_noted():
    report = check_layer(Attributes(4, 3), X)
    assert any("no gradient was found for scale" in note for note in report.run.notes)


def test_a_wrong_parameter_gradient_is_named():
    assert set(violations(check_layer(Doubled(4, 3), X))) == {"W"}
    wrong = Lists(4, 3)
    wrong.factor = 2.0
    assert set(violations(check_layer(wrong, X))) == {"params[0]"}


def test_layers_inside_a_layer_are_searched():
    assert set(violations(check_layer(Block(4), X))) == {"rest[1].W"}


def test_parameters_may_be_told():
    layer = Attributes(4, 3, "slope_of_{}")
    told = {"weight": (layer.W, "slope_of_W"), "bias": (layer.b, lambda: layer.slope_of_b)}
    assert places(check_layer(layer, X)) == 1
    assert places(check_layer(layer, X, parameters=told)) == 3
    wrong = {"weight": (layer.W, lambda layer: 3 * layer.slope_of_W)}
    assert set(violations(check_layer(layer, X, parameters=wrong))) == {"weight"}
    assert set(violations(check_network([WithParameters(layer, wrong)], CrossEntropy(), X, TARGETS))) == {"weight"}


def test_an_input_of_integers_leaves_the_parameters_to_check():
    class Embedding:
        def __init__(self):
            self.W = GENERATOR.normal(size=(5, 3))

        def forward(self, tokens):
            self.tokens = tokens
            return self.W[tokens]

        def backward(self, error):
            self.dW = np.zeros_like(self.W)
            np.add.at(self.dW, self.tokens, error)

    class Overwriting(Embedding):
        def backward(self, error):
            self.dW = np.zeros_like(self.W)
            self.dW[self.tokens] += error

    tokens = np.array([0, 2, 2, 4])
    assert places(check_layer(Embedding(), tokens)) == 1
    found = violations(check_layer(Overwriting(), tokens))["W"]
    assert found.where.entry[0] == 2


def test_single_precision_layers_are_not_accused_and_gross_errors_found():
    assert not violations(check_layer(Dense(4, 3, np.float32), X.astype(np.float32)))
    assert set(violations(check_layer(Doubled(4, 3, np.float32), X.astype(np.float32)))) == {"W"}


def test_a_layer_that_updates_its_weights_in_its_backward_pass_is_named_and_put_back():
    class Eager(Dense):
        def backward(self, error):
            result = super().backward(error)
            self.params["W"] -= 0.1 * self.grads["W"]
            return result

    layer = Eager(4, 3)
    before = layer.params["W"].copy()
    report = check_layer(layer, X)
    found = next(f for f in of(report, "handwritten-arguments") if f.verdict is Verdict.VIOLATED)
    assert (found.level, found.where.parameter) == (Level.INDICATOR, "W")
    assert np.array_equal(layer.params["W"], before)
    assert not violations(report)
