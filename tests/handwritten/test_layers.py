"""Layers and networks of layers: parameters found, wrong layers named, nothing left behind."""

import copy

import numpy as np
import pytest

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.handwritten import WithParameters, check_layer, check_network
from tests.handwritten.test_functions import of, only, violations

GENERATOR = np.random.default_rng(8)
X = GENERATOR.normal(size=(6, 4))
TARGETS = GENERATOR.integers(0, 3, 6)


class Dense:
    """Parameters and gradients in dictionaries."""

    factor = 1.0

    def __init__(self, inputs, outputs, dtype=float):
        self.params = {"W": GENERATOR.normal(size=(inputs, outputs)).astype(dtype), "b": np.zeros(outputs, dtype=dtype)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, error):
        self.grads["W"], self.grads["b"] = self.factor * self.x.T @ error, error.sum(axis=0)
        return error @ self.params["W"].T


class Doubled(Dense):
    factor = 2.0


class Lists(Dense):
    """Parameters and gradients in lists, filled in place."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.params = list(self.params.values())
        self.grads = [np.zeros_like(value) for value in self.params]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, error):
        self.grads[0][...] = self.factor * self.x.T @ error
        self.grads[1][...] = error.sum(axis=0)
        return error @ self.params[0].T


class Attributes:
    """``W`` beside ``dW``; the cached input has a gradient beside it as well."""

    def __init__(self, inputs, outputs, spelling="d{}"):
        self.W, self.b, self.scale = GENERATOR.normal(size=(inputs, outputs)), np.zeros(outputs), np.ones(outputs)
        self.x = self.dx = None
        self.spelling = spelling

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, error):
        self.dx = error @ self.W.T
        setattr(self, self.spelling.format("W"), self.x.T @ error)
        setattr(self, self.spelling.format("b"), error.sum(axis=0))
        return self.dx


class Silent:
    """Passes that return nothing: results are attributes."""

    def __init__(self, inputs, outputs):
        self.weights, self.biases = GENERATOR.normal(size=(inputs, outputs)), np.zeros((1, outputs))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T


class Adding(Dense):
    """Gradients are added to what is there."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.grads = {name: np.full(value.shape, 7.0) for name, value in self.params.items()}

    def backward(self, error):
        self.grads["W"] += self.factor * self.x.T @ error
        self.grads["b"] += error.sum(axis=0)
        return error @ self.params["W"].T


class Slotted:
    __slots__ = ("_w", "_w_grad", "kept")

    def __init__(self, inputs):
        self._w = GENERATOR.normal(size=inputs)

    def forward(self, x):
        self.kept = x
        return x * self._w

    def backward(self, error):
        self._w_grad = (error * self.kept).sum(axis=0)
        return error * self._w


class ReLU:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, error):
        return error * self.mask


class Forgetful(ReLU):
    def backward(self, error):
        return error


class InPlaceReLU(ReLU):
    def backward(self, error):
        error[~self.mask] = 0
        return error


class Dropout:
    def __init__(self):
        self.generator = np.random.default_rng(3)

    def forward(self, x):
        self.mask = 2.0 * (self.generator.random(x.shape) > 0.5)
        return x * self.mask

    def backward(self, error):
        return error * self.mask


class BatchNorm:
    def __init__(self, features):
        self.params = {"gamma": np.full(features, 1.5), "beta": np.zeros(features)}
        self.grads = {}
        self.running = np.zeros(features)

    def forward(self, x):
        self.running *= 0.9
        self.running += 0.1 * x.mean(axis=0)
        self.scale = np.sqrt(x.var(axis=0) + 1e-5)
        self.normal = (x - x.mean(axis=0)) / self.scale
        return self.params["gamma"] * self.normal + self.params["beta"]

    def backward(self, error):
        self.grads = {"gamma": (error * self.normal).sum(axis=0), "beta": error.sum(axis=0)}
        inner = error * self.params["gamma"]
        return (inner - inner.mean(axis=0) - self.normal * (inner * self.normal).mean(axis=0)) / self.scale


class Block:
    """A layer made of layers, with a skip connection."""

    def __init__(self, features):
        self.first, self.rest = Dense(features, features), [ReLU(), Doubled(features, features)]

    def forward(self, x):
        inner = self.first.forward(x)
        for layer in self.rest:
            inner = layer.forward(inner)
        return x + inner

    def backward(self, error):
        inner = error
        for layer in reversed(self.rest):
            inner = layer.backward(inner)
        return error + self.first.backward(inner)


class CrossEntropy:
    def forward(self, output, targets):
        self.targets, shifted = targets, output - output.max(axis=1, keepdims=True)
        self.chances = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        return -np.log(self.chances[np.arange(len(targets)), targets]).mean()

    def backward(self):
        return (self.chances - np.eye(self.chances.shape[1])[self.targets]) / len(self.targets)


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
    Lists.factor = 2.0
    try:
        assert set(violations(check_layer(Lists(4, 3), X))) == {"params[0]"}
    finally:
        Lists.factor = 1.0


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


def test_a_layer_that_raises_is_an_error_with_its_name():
    class Broken(ReLU):
        def backward(self, error):
            raise KeyError("kept")

    report = check_network({"a": Dense(4, 3), "b": Broken()}, CrossEntropy(), X, TARGETS)
    assert {f.verdict for f in report.findings} == {Verdict.ERROR}
    assert {f.where.module for f in of(report)} == {"b"}
