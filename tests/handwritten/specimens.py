"""Hand-written layers in the styles that people use, right and wrong."""

import numpy as np

GENERATOR = np.random.default_rng(8)


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
