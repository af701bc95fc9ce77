"""The public functions: one for each form in which a gradient is written by hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from gradcheck_suite.captures.handwritten_chain import HandwrittenChain
from gradcheck_suite.captures.handwritten_derivative import HandwrittenDerivative, Part
from gradcheck_suite.core.budget import budget as budget_of
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.report import Report
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.handwritten.experiment import measured
from gradcheck_suite.handwritten.functions import FunctionUnit, PairUnit
from gradcheck_suite.handwritten.layers import ChainUnit, Layer, LayerUnit, Loss, LossUnit
from gradcheck_suite.handwritten.parameters import WithParameters
from gradcheck_suite.handwritten.source import Request, Take, reported
from gradcheck_suite.handwritten.structure import nested
from gradcheck_suite.handwritten.units import Identity, Unit, identity_of
from gradcheck_suite.handwritten.updates import update_step

ALONE = ("correctness/handwritten_agreement", "purity/handwritten_arguments", "purity/handwritten_repeatability")
CHAIN = ("correctness/handwritten_chain",)
UPDATE = ("optimization/handwritten_update",)


def check_gradient(f: Callable[..., Any], grad_f: Callable[..., Any], x: Any, *, seed: int = 0, name: str | None = None,
                   budget: str = "standard") -> Report:
    """Compare a hand-written gradient with the derivative.

    ``f`` and ``grad_f`` are called with copies of ``x`` in float64; nothing of the caller's is changed.

    Args:
        f: a function of one argument that returns a number or an array of floats.
        grad_f: ``grad_f(x)`` returns the gradient of a number, in the structure of ``x``. Where ``f`` returns an array, it is
            ``grad_f(x, cotangent)``: the gradient of the sum of cotangent * f(x), the cotangent an array of f's shape. It is called
            after ``f`` at the same ``x``.
        x: an array of floats, or a tuple, list or dict of arrays (parameters), nested or not.
        seed: of random directions and cotangents.
        name: of the function in the report; its own where it is ``None``.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.

    Returns:
        The report; ``report.ok`` says whether nothing is wrong, ``str`` and ``to_html`` show it.

    Raises:
        UsageError: an argument, or what a function returns, is not what is allowed.

    Example:
        >>> import numpy as np
        >>> check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.array([1.0, -2.0])).ok
        True
    """
    size = sum(leaf.array.size for leaf in nested(x).leaves)
    facts = SubjectFacts(name=_named(name, f), target=identity_of(f).source or "", parameters=size)
    return _alone("check_gradient", lambda: FunctionUnit(f, grad_f, x), facts, seed, budget)


def check_pair(forward: Callable[..., Any], backward: Callable[..., Any], arguments: Any, *, seed: int = 0, name: str | None = None,
               budget: str = "standard") -> Report:
    """Compare the backward function of a pair that hands over a cache.

    Args:
        forward: ``forward(*arguments) -> (output, cache)``, or ``(output, ..., cache)`` with several outputs.
        backward: ``backward(cotangent, cache)``, one cotangent per output; returns the gradients of those arguments that are arrays
            of floats, in order.
        arguments: a tuple, or a dict by name, of what ``forward`` takes; other objects than arrays of floats are passed on as copies.
        seed: of random directions and cotangents.
        name: of the pair in the report; that of ``forward`` where it is ``None``.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.

    Raises:
        UsageError: an argument, or what a function returns, is not what is allowed.
    """
    return _alone("check_pair", lambda: PairUnit(forward, backward, arguments),
                  SubjectFacts(name=_named(name, forward), target=identity_of(forward).source or ""), seed, budget)


def check_layer(layer: Any, x: Any, *, parameters: Mapping[str, tuple[np.ndarray, Any]] | None = None, seed: int = 0,
                name: str | None = None, budget: str = "standard") -> Report:
    """Compare one layer's gradients with respect to its input and its parameters.

    The layer is run in place and left as it was found: arrays, attributes, random generators.

    Args:
        layer: an object with ``forward(x)`` and ``backward(grad_output)``; the latter returns the gradient with respect to x. Parameters
            are found as ``params`` beside ``grads`` (dicts or lists), or as an array ``W`` beside ``dW``, ``grad_W`` or ``W_grad``.
        x: the input, an array; where it holds integers only the parameters are checked.
        parameters: name -> (array, gradient) where they do not follow those conventions; the gradient is an attribute's name, or a
            function of the layer or of nothing that returns it after ``backward``.
        seed: of random directions and cotangents.
        name: of the layer in the report; its class's where it is ``None``.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.

    Raises:
        UsageError: an argument, or what a method returns, is not what is allowed.
    """
    given = layer if parameters is None else WithParameters(layer, parameters)
    shown = Layer(given)
    facts = SubjectFacts(name=name or shown.identity.function, target=shown.identity.source or "")
    return _alone("check_layer", lambda: LayerUnit(shown, x), facts, seed, budget)


def check_network(layers: Sequence[Any] | Mapping[str, Any], loss: Any, x: Any, targets: Any = None, *, seed: int = 0,
                  budget: str = "standard") -> Report:
    """Compare each layer alone, the loss alone, then the whole chain; a wrong layer is named.

    Args:
        layers: in order: objects as in ``check_layer``, or ``WithParameters``; a list, whose places are their names, or a dict by name.
        loss: two functions ``(value, gradient)`` of (prediction, targets); an object with ``forward(prediction, targets)`` and
            ``backward()``; or a function that returns (value, gradient).
        x: the input of the first layer.
        targets: passed to the loss; left out where it is ``None``.
        seed: of random directions and cotangents.
        budget: ``"quick"``, ``"standard"`` or ``"thorough"``.

    Raises:
        UsageError: an argument, or what a method returns, is not what is allowed.
    """
    items = layers.items() if isinstance(layers, Mapping) else ((str(index), layer) for index, layer in enumerate(layers))
    chain = {str(name): Layer(layer, str(name)) for name, layer in items}
    if not chain:
        raise UsageError("there are no layers", allowed="a list or dict of layers, not empty")
    network = _Network(chain, Loss(loss, targets), x, seed, budget)
    modules = (*((name, layer.identity.function) for name, layer in chain.items()), ("loss", network.loss.identity.function))
    request = Request(function="check_network", facts=SubjectFacts(name="network of hand-written layers", modules=modules),
                      takes=network.takes, seed=seed, budget=budget, notes=network.notes)
    return reported(request, (*ALONE, *CHAIN))


def check_update(update: Callable[..., Any], parameters: Any, gradients: Any, learning_rate: float, *, name: str | None = None) -> Report:
    """Compare one step of plain gradient descent with parameter - learning rate * gradient.

    Args:
        update: ``update(parameters, gradients, learning_rate)``; returns the new parameters, or ``None`` where it changes those it is
            given in place. It gets copies.
        parameters: an array of floats, or a tuple, list or dict of arrays, nested or not.
        gradients: of the same structure.
        learning_rate: a positive number.
        name: of the update in the report; its own where it is ``None``.

    Raises:
        UsageError: an argument, or what ``update`` returns, is not what is allowed.
    """
    def takes() -> dict[str, Take]:
        return {"handwritten_update": lambda: update_step(update, parameters, gradients, learning_rate)}

    size = sum(leaf.array.size for leaf in nested(parameters, "parameters").leaves)
    facts = SubjectFacts(name=_named(name, update), target=identity_of(update).source or "", parameters=size)
    return reported(Request(function="check_update", facts=facts, takes=takes, seed=None, budget="standard"), UPDATE)


class _Network:
    """Takes the captures of a chain of layers."""

    def __init__(self, layers: Mapping[str, Layer], loss: Loss, x: Any, seed: int, budget: str) -> None:
        self.layers, self.loss, self.x, self.seed, self.budget = layers, loss, x, seed, budget_of(budget)
        self.notes: list[str] = []
        for names in _holders(layers).values():
            if len(names) > 1:
                self.notes.append(f"the layers {', '.join(names)} are one object: what its forward pass keeps is overwritten by the next")

    def takes(self) -> dict[str, Take]:
        """A fresh set of ways to take the captures."""
        return {"handwritten_derivative": lambda: HandwrittenDerivative(parts=tuple(self.parts())),
                "handwritten_chain": lambda: HandwrittenChain(part=self.chain())}

    def parts(self) -> Iterator[Part]:
        """Every layer alone at the input that reaches it, then the loss alone."""
        value = np.array(self.x)
        for name, layer in self.layers.items():
            unit = LayerUnit(layer, value)
            self.notes += _unchecked(unit, f"layer {name} ({layer.identity.function})")
            yield _measured(unit, self.budget, derive(self.seed, name))
            value = unit.output
        yield _measured(LossUnit(self.loss, value), self.budget, derive(self.seed, "loss"))

    def chain(self) -> Part:
        """Layers and loss together."""
        value, found = np.array(self.x), {}
        for name, layer in self.layers.items():
            unit = LayerUnit(layer, value)
            found[name], value = unit.parameters, unit.output
        return _measured(ChainUnit(self.layers, found, self.loss, self.x), self.budget, derive(self.seed, "chain"))


def _holders(layers: Mapping[str, Layer]) -> dict[int, list[str]]:
    """The names under which each object stands in the chain."""
    found: dict[int, list[str]] = {}
    for name, layer in layers.items():
        found.setdefault(id(layer.object), []).append(name)
    return found


def _alone(function: str, make: Callable[[], Unit], facts: SubjectFacts, seed: int, budget: str) -> Report:
    """The report on one unit by itself."""
    size, notes = budget_of(budget), list[str]()

    def part() -> HandwrittenDerivative:
        unit = make()
        notes.extend(_unchecked(unit, facts.name))
        return HandwrittenDerivative(parts=(_measured(unit, size, derive(seed, facts.name)),))

    request = Request(function=function, facts=facts, takes=lambda: {"handwritten_derivative": part}, seed=seed, budget=budget, notes=notes)
    return reported(request, ALONE)


def _measured(unit: Unit, budget: Any, seed: int) -> Part:
    with closing(unit):
        return measured(unit, budget, seed)


def _unchecked(unit: Unit, who: str) -> list[str]:
    names = ", ".join(unit.unchecked)
    return [f"{who}: no gradient was found for {names}; nothing was compared there"] if names else []


def _named(name: str | None, function: Any) -> str:
    identity: Identity = identity_of(function)
    return name or identity.function
