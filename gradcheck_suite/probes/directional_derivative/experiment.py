"""Experiment: a function of some tensors that can be run, differentiated by backprop, and run again a little to the side."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.graph import Survey, survey
from gradcheck_suite.probes.directional_derivative.lifting import Lifting
from gradcheck_suite.probes.directional_derivative.unstopping import Unstopped

FAILURES: Final = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
_USUAL: Final[AbstractContextManager[object]] = nullcontext()
PARAMETER, INPUT, DATA, STUB = "parameter", "input", "data", "stub"


class NotRepeatable(RuntimeError):
    """A call that cannot be run a second time as it ran first; the text says why."""


class Experiment(ABC):
    """Tensors that are perturbed by replacing their ``.data``, and a run that yields outputs.

    Attributes:
        tensors: leaves that require gradients, each once.
        roles: of each: ``parameter``; ``input`` (carried a gradient in place); ``data`` (an input that did not); ``stub`` (the
            output of an inner call that is replaced).
        detached: whether outputs that carry no gradient are compared too: ``never``, ``alone`` (where no output carries one) or
            ``always``; single numbers among others are taken for figures to log and never are.
        lifted: whether casts to a narrower type are left out (see ``lifting``).
        unstopped: whether stops that the code writes out are left out (see ``stopping``).
        handed: tensors that the last run gave to the code as they are: arguments, and outputs of inner calls that are replaced.
        untouched: per tensor position, a mask of entries that no direction moves, because PyTorch defines their gradient
            away (the padding row of an embedding).
    """

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.roles: list[str] = []
        self.untouched: dict[int, torch.Tensor] = {}
        self.detached = "never"
        self.handed: list[torch.Tensor] = []
        self.lifted = self.unstopped = False
        self.runs = 0
        self._places: dict[int, torch.Tensor] = {}

    @abstractmethod
    def run(self) -> list[torch.Tensor]:
        """The outputs that can carry a gradient, at the current values of the tensors. State it changes stays changed."""

    @abstractmethod
    def reset(self) -> None:
        """Undo what a run changed in the modules."""

    @abstractmethod
    def names(self) -> list[str]:
        """What to call each of the tensors."""

    def discover(self, found: Survey) -> None:
        """Told what the graph of a run consists of; may add tensors that the run turned out to use."""
        del found

    def displace(self, draws: Draws, size: float, zeros: float = 1.0, signed: bool = True) -> None:
        """Move every tensor to a point nearby, in proportion to its size; tensors of zeros by ``size·zeros``.

        A tensor with positive entries and no negative ones gets none: it may be a probability or a variance. Neither does a
        tensor of zeros, unless ``signed``.
        """
        for position, tensor in enumerate(self.tensors):
            value = tensor.data
            self._places.setdefault(position, value)
            tensor.data = displaced(value, draws, size, zeros, signed)

    def replace(self) -> None:
        """Put the tensors back where they were before they were displaced."""
        for position, value in self._places.items():
            self.tensors[position].data = value
        self._places.clear()

    def cotangent(self, output: torch.Tensor, draws: Draws) -> torch.Tensor:
        """A random cotangent for an output, in memory of its own, as the gradients of training are."""
        return masked(draws.like(output), output).clone()

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context that forward and backward passes run in."""
        if self.unstopped:
            return Unstopped(self.lifted)
        return Lifting() if self.lifted else _USUAL  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Undo what the experiment displaced or installed."""
        self.replace()

    def outputs(self, graph: bool = False) -> list[torch.Tensor]:
        """One run from the same state as every other, its outputs detached; with ``graph``, in the grad mode of training."""
        self.runs += 1
        with nullcontext() if graph else torch.no_grad(), self.arithmetic():
            values = [value.detach() for value in self.run()]
        self.reset()
        return values


@dataclass(slots=True)
class Linearization:
    """One run, its backward pass from random cotangents, and what is needed to compare it with differences.

    ``live`` are the positions of the outputs that are compared; ``cotangents`` and ``base`` belong to those. They carry a gradient, but
    for ``constant``, which are compared all the same (see ``Experiment.detached``). ``gradients`` are per tensor, ``None`` where none
    arrived. ``mutated``: the backward pass wrote into its cotangent.
    """

    live: list[int]
    cut: list[int]
    cotangents: list[torch.Tensor]
    base: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    survey: Survey
    mutated: bool = False
    sizes: dict[int, float] = field(default_factory=dict)
    constant: list[int] = field(default_factory=list)

    @property
    def magnitude(self) -> float:
        """Root of the summed squares of cotangent times output: the size of what a difference is taken of."""
        return math.sqrt(sum(_square(u * o) for u, o in zip(self.cotangents, self.base, strict=True)))


def linearize(
    experiment: Experiment, draws: Draws, cotangents: list[torch.Tensor] | None = None, outputs: list[torch.Tensor] | None = None
) -> Linearization:
    """Run the experiment once and pull random cotangents (or given ones, for the live outputs) back through it.

    ``outputs`` are those of a run just made, whose state has not been reset yet.

    Raises:
        NotRepeatable: other outputs are differentiable than those that the given cotangents belong to.
    """
    with torch.enable_grad(), experiment.arithmetic():
        outputs = experiment.run() if outputs is None else outputs
        live = [index for index, output in enumerate(outputs) if output.requires_grad]
        carrying = [outputs[index] for index in live]
        found = survey(carrying)
        experiment.discover(found)
        if experiment.detached == "always" or (experiment.detached == "alone" and not live):
            live = [index for index, output in enumerate(outputs) if output.requires_grad or output.numel() > 1 or not live]
        us = [experiment.cotangent(outputs[index], draws) for index in live] if cotangents is None else cotangents
        if len(us) != len(live):
            raise NotRepeatable("a repeated call has other differentiable outputs")
        versions = [u._version for u in us]
        pulling = [u for index, u in zip(live, us, strict=True) if outputs[index].requires_grad]
        gradients = pulled_back(carrying, experiment.tensors, pulling, found.reentrant)
    cut = [index for index in range(len(outputs)) if index not in live]
    base = [outputs[index].detach() for index in live]
    constant = [index for index in live if not outputs[index].requires_grad]
    experiment.reset()
    mutated = any(u._version != version for u, version in zip(us, versions, strict=True))
    return Linearization(live=live, cut=cut, cotangents=us, base=base, gradients=gradients, survey=found, mutated=mutated,
                         constant=constant)


def masked(cotangent: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The cotangent with zeros where the output is not finite (a mask of minus infinity has no difference)."""
    value = output.detach()
    if math.isfinite(float(torch.linalg.vector_norm(value))):
        return cotangent
    return torch.where(torch.isfinite(value), cotangent, torch.zeros_like(cotangent))


def pulled_back(
    outputs: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor], accumulate: bool = False
) -> list[torch.Tensor | None]:
    """Gradients of the tensors, dense; ``None`` where none arrives. The tensors' ``.grad`` is left as it was.

    ``accumulate`` goes through ``.grad``, as training does: re-entrant checkpoints refuse anything else.
    """
    if not outputs or not tensors:
        return [None] * len(tensors)
    if accumulate:
        found = _accumulated(outputs, tensors, cotangents)
    else:
        found = list(torch.autograd.grad(outputs, tensors, cotangents, allow_unused=True))
    return [None if gradient is None else gradient.detach().to_dense() if gradient.is_sparse else gradient.detach() for gradient in found]


def _accumulated(
    outputs: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    kept = [tensor.grad for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.grad = None
        torch.autograd.backward(outputs, cotangents)
        return [tensor.grad for tensor in tensors]
    finally:
        for tensor, gradient in zip(tensors, kept, strict=True):
            tensor.grad = gradient


def inner(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The real inner product of two tensors of the same shape."""
    if first.is_complex():
        return torch.dot(torch.view_as_real(first.resolve_conj()).reshape(-1), torch.view_as_real(second.resolve_conj()).reshape(-1))
    return torch.dot(first.reshape(-1), second.reshape(-1))


def displaced(value: torch.Tensor, draws: Draws, size: float, zeros: float = 1.0, signed: bool = True) -> torch.Tensor:
    """A copy of a tensor moved at random by ``size`` relative to its root mean square; infinite entries stay."""
    if value.numel() == 0:
        return value.clone()
    usual = torch.isfinite(value)
    scale = math.sqrt(float(torch.where(usual, value, torch.zeros_like(value)).abs().square().mean())) or zeros
    noise = draws.like(value) * (size * scale)
    if not value.is_complex() and bool((value >= 0).all()) and (not signed or bool((value > 0).any())):
        noise = noise.abs()
    return torch.where(usual, value + noise, value)


def _square(value: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(torch.nan_to_num(value, 0.0, 0.0, 0.0))) ** 2
