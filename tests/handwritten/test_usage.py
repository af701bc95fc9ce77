"""Bad input is refused with what was got, what is allowed and what to write instead."""

import numpy as np
import pytest

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.handwritten import check_gradient, check_layer, check_network, check_pair, check_update
from tests.handwritten.specimens import CrossEntropy, Dense, ReLU

X = np.arange(6.0).reshape(2, 3) + 0.5


def square(x):
    return (x**2).sum()


def refused(call, *words):
    with pytest.raises(UsageError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("x", "words"), [
    (X + 1j, ("complex128", "real and the imaginary")),
    (np.array([1, 2]), ("int64", "astype(float)")),
    (3, ("int",)),
    (True, ("bool",)),
    (np.array([1.0, None], dtype=object), ("object", "tuple, list or dict of arrays")),
    (np.array(["a"]), ("<U1",)),
    ("text", ("str", "Keep what is not an array inside f")),
    (None, ("NoneType",)),
    (np.ma.masked_array([1.0]), ("MaskedArray",)),
    (np.array([1.0, np.nan, np.inf]), ("2 entries that are not finite",)),
    (np.zeros((0, 3)), ("holds no numbers",)),
    ({}, ("holds no numbers",)),
    ({"W": X, "k": 3}, ("k is of type int",)),
])
def test_arguments_that_have_no_derivative(x, words):
    assert refused(lambda: check_gradient(square, lambda x: 2 * x, x), *words).allowed


@pytest.mark.parametrize(("gradient", "words"), [
    (None, ("no gradient for x (None)", "Return zeros")),
    (X.T, ("shape (3, 2) for x, which has shape (2, 3)", "factors in the wrong order")),
    (np.ones((5, 2, 3)), ("shape (5, 2, 3)", "Sum it over its first axis")),
    (np.ones(6), ("shape (6,)", "Reshape it to (2, 3)")),
    (np.ones((2, 4)), ("one entry for each entry",)),
    (X + 1j, ("complex128",)),
    (X.astype(object), ("object",)),
    ("text", ("str",)),
    ([X], ("list",)),
])
def test_gradients_that_do_not_fit(gradient, words):
    refused(lambda: check_gradient(square, lambda x: gradient, X), *words)


@pytest.mark.parametrize(("gradient", "words"), [
    ({"W": X}, ("['W']", "['W', 'b']")),
    ({"W": X, "b": X, "c": X}, ("'c'", "['W', 'b']")),
    ((X, X), ("tuple", "a dict with the keys")),
    ({"W": X, "b": X[0]}, ("for b, which has shape (2, 3)",)),
])
def test_structures_that_do_not_fit(gradient, words):
    refused(lambda: check_gradient(lambda p: square(p["W"]) + square(p["b"]), lambda p: gradient, {"W": X, "b": X}), *words)


def test_a_tuple_needs_one_gradient_per_item():
    refused(lambda: check_gradient(lambda p: square(p[0]), lambda p: (X,), (X, X)), "1 gradients for the 2 items of x")


@pytest.mark.parametrize(("f", "words"), [
    (lambda x: None, ("f returned None", "return statement")),
    (lambda x: "3", ("f returned str",)),
    (lambda x: 1j, ("f returned complex",)),
    (lambda x: x.astype(object), ("f returned object",)),
    (lambda x: [1.0], ("f returned list",)),
    (lambda x, y: 1.0, ("one argument", "lambda x: f(*x)")),
    (7, ("f is of type int",)),
])
def test_functions_that_do_not_fit(f, words):
    refused(lambda: check_gradient(f, lambda x: x, X), *words)


def test_an_array_needs_a_gradient_that_takes_the_cotangent():
    refused(lambda: check_gradient(np.tanh, lambda x: 1 - np.tanh(x) ** 2, X),
            "shape (2, 3)", "grad_f(x, cotangent)", "lambda x, u: u * grad_f(x)")
    refused(lambda: check_gradient(square, lambda x, u: u * x, X), "one number", "grad_f(x)")


def test_an_unknown_budget_is_refused_before_anything_runs():
    refused(lambda: check_gradient(lambda x: 1 / 0, lambda x: x, X, budget="huge"), "huge", "quick, standard, thorough")


def test_pairs_that_do_not_fit():
    refused(lambda: check_pair(lambda x: x, lambda u, c: u, (X,)), "forward returned numpy.ndarray", "(output, cache)")
    refused(lambda: check_pair(lambda x, w: (x * w, 0), lambda u, c: u, (X, X)), "1 gradients", "x, w")
    refused(lambda: check_pair(lambda x: (x, 0), lambda u, c: u, (X, X)), "does not take these 2 arguments")
    refused(lambda: check_pair(lambda x: (x, 0), lambda u, c: u, (3,)), "no argument of forward is an array of floats")
    refused(lambda: check_pair(lambda x: (x, 0), lambda u, c: u, (X + 1j,)), "complex128")
    refused(lambda: check_pair(lambda x: (x, 0), lambda u, c: u, 3.0), "of type float")


class Lopsided(Dense):
    def backward(self, error):
        result = super().backward(error)
        del self.grads["b"]
        return result


class Returnless(ReLU):
    def backward(self, error):
        self.gradient_of_x = error * self.mask


class Wide(Dense):
    def backward(self, error):
        result = super().backward(error)
        self.grads["b"] = error
        return result


def test_layers_that_do_not_fit():
    refused(lambda: check_layer(object(), X), "has no method forward", "check_gradient(f, grad_f, x)")
    refused(lambda: check_layer(Lopsided(3, 2), X), "no gradient for b", "parameters={name: (array, gradient)}")
    refused(lambda: check_layer(Returnless(), X), "no gradient for x (None)")
    refused(lambda: check_layer(Wide(3, 3), X), "backward of the layer Wide", "shape (2, 3) for b", "Sum it over its first axis")
    refused(lambda: check_layer(ReLU(), np.array([1, 2])), "no parameters that were found", "int64")


def test_parameters_that_do_not_fit():
    layer = Dense(3, 2)
    weight = layer.params["W"]
    refused(lambda: check_layer(layer, X, parameters={"W": weight}), "W is described by numpy.ndarray")
    refused(lambda: check_layer(layer, X, parameters={"W": (weight, 3)}), "the gradient of W is described by int")
    refused(lambda: check_layer(layer, X, parameters={"W": (weight.astype(int), "dW")}), "int64", "writeable numpy array of floats")
    fixed = weight.copy()
    fixed.setflags(write=False)
    refused(lambda: check_layer(layer, X, parameters={"W": (fixed, "dW")}), "read-only")


def test_networks_that_do_not_fit():
    targets = np.array([0, 1])
    refused(lambda: check_network([], CrossEntropy(), X, targets), "no layers")
    refused(lambda: check_network([Dense(3, 2)], 3, X, targets), "the loss is of type int")
    refused(lambda: check_network([Dense(3, 2)], lambda p, t: 3.0, X, targets), "the loss returned float", "(value, gradient)")
    refused(lambda: check_network([Dense(3, 2)], (lambda p, t: p, lambda p, t: p), X, targets), "shape (2, 2)", "one number")
    refused(lambda: check_network([Dense(3, 2), Wide(2, 2)], CrossEntropy(), X, targets), "backward of the layer 1 (Wide)", "for b")


def test_updates_that_do_not_fit():
    refused(lambda: check_update(lambda p: p, X, X, 0.1), "three arguments", "SGD(lr).update(p, g)")
    refused(lambda: check_update(lambda p, g, lr: p, X, X, 0), "learning rate is 0")
    refused(lambda: check_update(lambda p, g, lr: p, X, X[0], 0.1), "gradients gave a gradient of shape (3,)")
    refused(lambda: check_update(lambda p, g, lr: p[0], X, X, 0.1), "update gave")
