"""Stubs: exact affine stand-ins for inner calls, so that only a container's own code is left to check.

``out(x) = out0 + w·<r, x - x0>`` has the recorded output at the recorded input, a gradient that is known, and costs one pass
over the data. A child that took no numbers (an embedding, a parametrisation) is given a free scalar instead.
"""

import math
from typing import Any

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import displaced, inner
from gradcheck_suite.probes.directional_derivative.lifting import widened
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.trees import Tree


class Stub:
    """Stand-in for one recorded call. ``free`` is a scalar leaf at 1 where the call has no inputs that carry numbers."""

    def __init__(self, call: Call, output: Tree, draws: Draws, lifted: bool = False) -> None:
        self._output, self._given, self._draws = output, call.given, draws
        self._arguments = call.arguments
        self._inputs = [widened(leaf) if lifted else leaf for leaf in call.arguments.leaves]
        self._functionals = [_functional(value, draws) for value in self._inputs]
        self._outputs = [widened(leaf) if lifted else leaf for leaf in output.leaves]
        self._base = self._outputs
        self._weights = self._made_weights()
        self.free: torch.Tensor | None = None
        if not self._inputs and any(self._given):
            self.free = torch.ones((), dtype=torch.float64).requires_grad_()

    def displace(self, size: float) -> None:
        """Move the base outputs away from exact zeros and ties."""
        self._base = [displaced(value, self._draws, size) for value in self._outputs]
        self._weights = self._made_weights()

    def replace(self) -> None:
        """Back to the recorded outputs."""
        if self._base is not self._outputs:
            self._base = self._outputs
            self._weights = self._made_weights()

    def distance(self, given: Tree) -> float:
        """How far inputs are from the recorded ones, infinite where they do not fit."""
        pairs = list(zip(self._matched(given), self._inputs, strict=True))
        if any(a is None or a.shape != b.shape for a, b in pairs):
            return math.inf
        return sum(float((a.detach() - b).abs().sum()) for a, b in pairs if a is not None)

    def _matched(self, given: Tree) -> list[torch.Tensor | None]:
        """The recorded inputs' counterparts: in order, or by path where a cache has grown or shrunk."""
        if len(given.leaves) == len(self._inputs):
            return list(given.leaves)
        named = dict(zip(given.paths(), given.leaves, strict=True))
        return [named.get(path) for path in self._arguments.paths()]

    def __call__(self, given: Tree) -> Any:
        """The output for these inputs; integers and whatever else was returned come back as recorded."""
        moved: torch.Tensor | None = None if self.free is None else self.free - 1
        for value, base, (functional, factor) in zip(self._matched(given), self._inputs, self._functionals, strict=True):
            if value is None or value.shape != base.shape:
                continue
            part = inner(value - base, functional) * factor
            moved = part if moved is None else moved + part
        made = []
        for base, weight, carries in zip(self._base, self._weights, self._given, strict=True):
            if moved is None or not carries:
                made.append(base.clone())
            else:
                made.append(torch.addcmul(base, weight, moved.to(base.dtype)))
        return self._output.build(made)

    def _made_weights(self) -> list[torch.Tensor]:
        return [_weight(value, self._draws) if given else value for value, given in zip(self._base, self._given, strict=True)]


def _functional(value: torch.Tensor, draws: Draws) -> tuple[torch.Tensor, float]:
    """Weights of <r, x - x0> and their common factor: of order 1 for a change of the input by its own size."""
    return draws.like(value), 1.0 / ((_size(value) or 1.0) * math.sqrt(max(1, value.numel())))


def _weight(value: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Direction of the output: in proportion to each entry where none is negative (zeros stay), else to the tensor's size."""
    vector, size = draws.like(value), _size(value)
    if size == 0.0 or not value.numel():
        return vector * torch.where(torch.isfinite(value), value, torch.zeros_like(value)) if value.numel() else vector
    if not value.is_complex() and float(value.min()) >= 0:
        return vector * value
    return vector * size


def _size(value: torch.Tensor) -> float:
    """Root mean square; 0 where it is not a usable number."""
    size = float(torch.linalg.vector_norm(value)) / math.sqrt(max(1, value.numel()))
    return size if size < 1e150 else 0.0
