"""A network of two layers in NumPy with its own backpropagation, checked; and the same with three classic mistakes, found.

    python examples/numpy_network.py

The network is y = W2 relu(W1 x + b1) + b2, written for a batch of rows. The steps are those of every course: forward pass,
loss, error at the output, chain rule layer by layer, update.
"""

import sys

import numpy as np

from gradcheck_suite.core.text import report_text
from gradcheck_suite.handwritten import check_gradient, check_network, check_update


def initial(seed, inputs=6, hidden=8, outputs=3):
    generator = np.random.default_rng(seed)
    return {"W1": generator.normal(size=(inputs, hidden)) * np.sqrt(2 / inputs), "b1": np.zeros(hidden),
            "W2": generator.normal(size=(hidden, outputs)) / np.sqrt(hidden), "b2": np.zeros(outputs)}


def batch(seed, samples=10, inputs=6, outputs=3):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(samples, inputs)), generator.integers(0, outputs, samples)


# Step 1: the forward pass, which keeps what the backward pass needs.
def forward(parameters, x):
    before = x @ parameters["W1"] + parameters["b1"]
    after = np.maximum(before, 0)
    return after @ parameters["W2"] + parameters["b2"], (x, before, after)


# Step 2: the loss, and step 3: the error at the output, which is its derivative with respect to the output.
def mean_squared_error(output, targets):
    wanted = np.eye(output.shape[1])[targets]
    return ((output - wanted) ** 2).mean()


def mean_squared_error_at_output(output, targets):
    wanted = np.eye(output.shape[1])[targets]
    return 2 * (output - wanted) / output.size


def log_softmax(output):
    shifted = output - output.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(output, targets):
    return -log_softmax(output)[np.arange(len(targets)), targets].mean()


def cross_entropy_at_output(output, targets):
    return (np.exp(log_softmax(output)) - np.eye(output.shape[1])[targets]) / len(targets)


# Step 4: the chain rule, from the last layer to the first.
def backward(parameters, cache, error):
    x, before, after = cache
    hidden_error = error @ parameters["W2"].T * (before > 0)
    return {"W2": after.T @ error, "b2": error.sum(axis=0), "W1": x.T @ hidden_error, "b1": hidden_error.sum(axis=0)}


# Step 5: the update.
def update(parameters, gradients, learning_rate):
    for name, gradient in gradients.items():
        parameters[name] -= learning_rate * gradient


# The mistakes: each returns gradients of the right shape, and training runs with all of them.
def without_activation_derivative(parameters, cache, error):
    x, _, after = cache
    hidden_error = error @ parameters["W2"].T
    return {"W2": after.T @ error, "b2": error.sum(axis=0), "W1": x.T @ hidden_error, "b1": hidden_error.sum(axis=0)}


def without_the_mean(parameters, cache, error):
    return backward(parameters, cache, error * len(error))


def with_one_row_forgotten(parameters, cache, error):
    gradients = backward(parameters, cache, error)
    gradients["W2"][0] = 0
    return gradients


# The same network as layer objects: a layer with an explicit backward pass, as in an embedded library.
class Dense:
    def __init__(self, weight, bias):
        self.params = {"W": weight, "b": bias}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, error):
        self.grads = {"W": self.x.T @ error, "b": error.sum(axis=0)}
        return error @ self.params["W"].T


class ReLU:
    def forward(self, x):
        self.active = x > 0
        return np.where(self.active, x, 0)

    def backward(self, error):
        return error * self.active


class ForgetfulReLU(ReLU):
    def backward(self, error):
        return error


class SwappedDense(Dense):
    """A square layer whose gradient with respect to the input uses W where its transpose is due."""

    def backward(self, error):
        super().backward(error)
        return error @ self.params["W"]


def check_functions(backpropagation, loss=cross_entropy, error_at_output=cross_entropy_at_output):
    x, targets = batch(seed=1)

    def value(parameters):
        return loss(forward(parameters, x)[0], targets)

    def gradient(parameters):
        output, cache = forward(parameters, x)
        return backpropagation(parameters, cache, error_at_output(output, targets))

    return check_gradient(value, gradient, initial(seed=0), name=backpropagation.__name__)


def check_layers(activation, second=Dense):
    parameters, (x, targets) = initial(seed=0, hidden=3), batch(seed=1)
    layers = {"input": Dense(parameters["W1"], parameters["b1"]), "activation": activation(),
              "output": second(parameters["W2"], parameters["b2"])}
    return check_network(layers, (cross_entropy, cross_entropy_at_output), x, targets)


def check_step():
    parameters, (x, targets) = initial(seed=0), batch(seed=1)
    output, cache = forward(parameters, x)
    gradients = backward(parameters, cache, cross_entropy_at_output(output, targets))
    return check_update(update, parameters, gradients, learning_rate=0.1)


def main():
    right = {
        "cross-entropy": check_functions(backward),
        "mean squared error": check_functions(backward, mean_squared_error, mean_squared_error_at_output),
        "layers": check_layers(ReLU),
        "update": check_step(),
    }
    wrong = {
        "the activation's derivative is forgotten": check_functions(without_activation_derivative),
        "the mean over the batch is missing": check_functions(without_the_mean),
        "a row is forgotten": check_functions(with_one_row_forgotten),
        "a layer forgets its derivative": check_layers(ForgetfulReLU),
        "a layer forgets to transpose": check_layers(ReLU, second=SwappedDense),
    }
    for title, report in (right | wrong).items():
        print(f"== {title}\n{report_text(report)}\n")
    return 0 if all(report.ok for report in right.values()) and not any(report.ok for report in wrong.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
