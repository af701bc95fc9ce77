"""Units made of layers: objects with ``forward(x)`` and ``backward(grad_output)``; a loss; and a chain of layers with a loss."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import kind_of
from gradcheck_suite.handwritten.memory import Memory
from gradcheck_suite.handwritten.parameters import Finder, Parameter, WithParameters, told
from gradcheck_suite.handwritten.structure import gradient_array, real
from gradcheck_suite.handwritten.units import Argument, Arrays, Identity, Unit, identity_of, output_array, required

_OUTPUTS: Final = ("output", "out")
_INPUT_GRADIENTS: Final = ("dinputs", "dinput", "dx", "grad_input", "dX")


class Layer:
    """A hand-written layer behind one interface, whether its passes return their results or keep them in attributes."""

    def __init__(self, layer: Any, name: str | None = None) -> None:
        self.described = layer.parameters if isinstance(layer, WithParameters) else None
        self.object = layer.layer if isinstance(layer, WithParameters) else layer
        self.name = name
        for method in ("forward", "backward"):
            if not callable(getattr(self.object, method, None)):
                raise UsageError(f"{self} has no method {method}", allowed="an object with forward(x) and backward(grad_output)",
                                 instead="For functions see check_gradient(f, grad_f, x) and check_pair(forward, backward, arguments).")
        found = identity_of(self.object.backward, name)
        self.identity = Identity(module=name, function=type(self.object).__qualname__.replace("<locals>.", ""), source=found.source)

    def __str__(self) -> str:
        return f"the layer {self.name} ({type(self.object).__qualname__})" if self.name else f"the layer {type(self.object).__qualname__}"

    def forward(self, x: Any) -> np.ndarray:
        """The output, not copied."""
        value = self.object.forward(x)
        kept = [getattr(self.object, name, None) for name in _OUTPUTS] if value is None else []
        return output_array(next((item for item in kept if item is not None), value), f"forward of {self}")

    def backward(self, cotangent: np.ndarray) -> Any:
        """The gradient with respect to the input, not copied; ``None`` where the layer has none."""
        value = self.object.backward(cotangent)
        kept = [getattr(self.object, name, None) for name in _INPUT_GRADIENTS] if value is None else []
        return next((item for item in kept if item is not None), value)


def surveyed(layer: Layer, x: Any, memory: Memory) -> tuple[list[Parameter], tuple[str, ...], np.ndarray]:
    """A layer's parameters, arrays without a gradient, and its output at x; the passes made for this are undone.

    Raises:
        UsageError: parameters and gradients do not match.
    """
    finder = Finder(layer.object)
    output = layer.forward(np.array(x)).copy()
    layer.backward(np.ones_like(output))
    listed, lonely = ([], ()) if layer.described is not None else finder.found()
    memory.restore()
    return (listed if layer.described is None else told(layer.object, layer.described)), lonely, output


class _Parametrised(Unit):
    """What units with parameters share: writing them in place and reading their gradients."""

    parameters: Sequence[Parameter]
    _input: np.ndarray

    def _narrow(self) -> bool:
        held = [self._input, *(parameter.array for parameter in self.parameters)]
        return any(array.dtype.kind == "f" and array.dtype.itemsize < 8 for array in held)

    def _write(self, values: Arrays) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            np.copyto(parameter.array, value, casting="same_kind")

    def _watch(self, stage: str, values: Arrays) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            self.note_change((stage, parameter.name, "parameter"), np.asarray(value, dtype=parameter.array.dtype), parameter.array)

    def _clear(self, parameters: Iterable[Parameter]) -> None:
        """Set gradients that exist already to zero: layers that add to them then give this call's alone."""
        for parameter in parameters:
            try:
                held = parameter.read()
            except (AttributeError, KeyError, IndexError):  # the first backward pass makes it
                continue
            if isinstance(held, np.ndarray) and held.flags.writeable and held.dtype.kind == "f":
                held[...] = 0.0

    def _gradient(self, parameter: Parameter, who: str) -> np.ndarray:
        return gradient_array(parameter.read(), parameter.array.shape, parameter.name, who)


class LayerUnit(_Parametrised):
    """One layer alone, with respect to its input (where that is of floats) and its parameters."""

    def __init__(self, layer: Layer, x: Any) -> None:
        self.layer = layer
        self._input = np.array(x)
        self._moving = self._input.dtype.kind == "f"
        memory = Memory(layer.object, layer.described)
        with Unit(layer.identity, (), memory).guarded("forward"):
            self.parameters, unchecked, self.output = surveyed(layer, self._input, memory)
        inputs = [Argument(name="x", array=real(x, f"the input of {layer}"), module=layer.name)] if self._moving else []
        held = [Argument(name=parameter.name, array=real(parameter.array, parameter.name), kind="parameter", module=layer.name)
                for parameter in self.parameters]
        super().__init__(layer.identity, [*inputs, *held], memory)
        if not self.arguments:
            raise UsageError(f"{layer} has no parameters that were found, and its input is of type {self._input.dtype}",
                             allowed="params and grads, or W beside dW or grad_W",
                             instead="Write parameters={name: (array, gradient)}.")
        self.unchecked = unchecked
        self.single = self._narrow()
        self._given: Arrays = ()

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """The layer's output with these arrays as input and parameters."""
        self._given = arrays
        self._write(arrays[int(self._moving):])
        self._passed = np.array(arrays[0], dtype=self._input.dtype) if self._moving else self._input.copy()
        output = self.layer.forward(self._passed)
        self._compare("forward")
        return [output]

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """The layer's gradients for the last ``call``."""
        self._clear(self.parameters)
        cotangent = np.array(cotangents[0])
        returned = self.layer.backward(cotangent)
        self.note_change(("backward", "the cotangent", "cotangent"), cotangents[0], cotangent)
        self._compare("backward")
        who = f"backward of {self.layer}"
        first = [gradient_array(returned, self._input.shape, "x", who)] if self._moving else []
        return [*first, *(self._gradient(parameter, who) for parameter in self.parameters)]

    def _compare(self, stage: str) -> None:
        if self._moving:
            self.note_change((stage, "x", "argument"), np.asarray(self._given[0], dtype=self._input.dtype), self._passed)
        self._watch(stage, self._given[int(self._moving):])


class Loss:
    """A loss in one of the usual forms, bound to its targets.

    Forms: a pair of functions (value, gradient); an object with ``forward(prediction, targets)`` and ``backward()``; a function
    that returns (value, gradient). Without targets they take the prediction alone.
    """

    def __init__(self, loss: Any, targets: Any) -> None:
        self.object, self._extra = loss, () if targets is None else (targets,)
        self._pair = isinstance(loss, tuple | list) and len(loss) == 2 and all(map(callable, loss))
        self._methods = callable(getattr(loss, "forward", None)) and callable(getattr(loss, "backward", None))
        if not (self._pair or self._methods or callable(loss)):
            raise UsageError(
                f"the loss is of type {kind_of(loss)}",
                allowed="two functions (value, gradient), an object with forward and backward, or one function that returns both")
        writer = loss[1] if self._pair else loss.backward if self._methods else loss
        self.identity = identity_of(writer, "loss")
        self._gradient: Any = None
        self._prediction: Any = None

    def forward(self, prediction: np.ndarray) -> np.ndarray:
        """The value of the loss."""
        self._prediction = prediction
        if self._pair:
            value = self.object[0](prediction, *self._extra)
        elif self._methods:
            value = self.object.forward(prediction, *self._extra)
        else:
            value = self._both(self.object(prediction, *self._extra))
        array = output_array(value, "the loss")
        if array.size != 1:
            raise UsageError(f"the loss returned an array of shape {array.shape}", allowed="one number")
        return array

    def backward(self) -> Any:
        """The gradient with respect to the prediction of the last ``forward``."""
        if self._pair:
            return self.object[1](self._prediction, *self._extra)
        if not self._methods:
            return self._gradient
        count = required(self.object.backward)
        return self.object.backward(*((), (1.0,), (self._prediction, *self._extra))[min(count or 0, 2)])

    def _both(self, result: Any) -> Any:
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise UsageError(f"the loss returned {kind_of(result)}", allowed="(value, gradient)",
                             instead="Or give the loss as two functions: loss=(value, gradient).")
        value, self._gradient = result
        return value


class LossUnit(Unit):
    """The loss alone, with respect to the prediction."""

    def __init__(self, loss: Loss, prediction: np.ndarray) -> None:
        self._loss = loss
        super().__init__(loss.identity, [Argument(name="prediction", array=real(prediction, "the prediction"), module="loss")],
                         Memory(loss.object))
        self.scalar = True
        self._given: Arrays = ()
        self._passed = prediction

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """The value of the loss at a copy of the prediction."""
        self._given, self._passed = arrays, np.array(arrays[0])
        value = self._loss.forward(self._passed)
        self.note_change(("forward", "prediction", "argument"), arrays[0], self._passed)
        return [value.reshape(())]

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """The gradient with respect to the prediction."""
        gradient = self._loss.backward()
        self.note_change(("backward", "prediction", "argument"), self._given[0], self._passed)
        return [gradient_array(gradient, self._given[0].shape, "the prediction", "the loss")]


class ChainUnit(_Parametrised):
    """All layers and the loss as one function of the input and all parameters; nothing is copied between layers."""

    def __init__(self, layers: Mapping[str, Layer], found: Mapping[str, Sequence[Parameter]], loss: Loss, x: Any) -> None:
        self._layers, self._loss, self._input = tuple(layers.values()), loss, np.array(x)
        self._moving = self._input.dtype.kind == "f"
        self._readers: dict[int, dict[tuple[int, str], Parameter]] = {}
        firsts: dict[int, tuple[str, Parameter]] = {}
        for name, parameters in found.items():
            for parameter in parameters:
                firsts.setdefault(id(parameter.array), (name, parameter))
                self._readers.setdefault(id(parameter.array), {})[id(layers[name].object), parameter.name] = parameter
        self.parameters = [parameter for _, parameter in firsts.values()]
        inputs = [Argument(name="x", array=real(x, "the input"))] if self._moving else []
        held = [Argument(name=parameter.name, array=real(parameter.array, parameter.name), kind="parameter", module=name)
                for name, parameter in firsts.values()]
        super().__init__(Identity(module=None, function="the chain of layers"), [*inputs, *held],
                         Memory(*(layer.object for layer in self._layers), loss.object))
        self.scalar = True
        self.single = self._narrow()
        self._given: Arrays = ()

    def call(self, arrays: Arrays) -> list[np.ndarray]:
        """The loss of the network with these arrays as input and parameters."""
        self._given = arrays
        self._write(arrays[int(self._moving):])
        value: Any = np.array(arrays[0], dtype=self._input.dtype) if self._moving else self._input.copy()
        for layer in self._layers:
            value = layer.forward(value)
        return [self._loss.forward(value).reshape(())]

    def pull_back(self, cotangents: Arrays) -> list[np.ndarray]:
        """The gradients after a backward pass through loss and layers; a shared parameter gets the sum over its holders."""
        for readers in self._readers.values():
            self._clear(readers.values())
        cotangent = self._loss.backward()
        for layer in reversed(self._layers):
            cotangent = layer.backward(np.asarray(cotangent))
        first = [gradient_array(cotangent, self._input.shape, "x", "the chain of layers")] if self._moving else []
        sums = [sum(self._gradient(parameter, "the chain of layers") for parameter in self._readers[id(kept.array)].values())
                for kept in self.parameters]
        return [*first, *(np.asarray(total) for total in sums)]
