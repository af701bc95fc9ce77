"""Gradients of one graph for several cotangents, row by row: what every leaf layer gives, every input, every parameter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gradcheck_suite.captures.gradient_rows import Rows
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.execution import Running, differentiable, failures, floating
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.subject import Batch, Setup


@dataclass(slots=True)
class Graph:
    """One forward pass, kept: its floating outputs that carry a graph, and the tensors whose gradients are asked for.

    ``rows`` names these tensors: leaf layers' outputs in order of execution, then inputs, then parameters. ``returned`` is what the model
    returned, ``paths`` where its modules are, by identity.
    """

    outputs: list[torch.Tensor]
    tensors: list[torch.Tensor]
    rows: Rows
    returned: Any = None
    paths: dict[int, str] = field(default_factory=dict)

    @classmethod
    def record(cls, setup: Setup, batch: Batch | None = None) -> "Graph":
        """Run the model forward on its batch, or another.

        Raises:
            SubjectError: the forward pass raised.
            NotApplicable: no floating output depends on anything that requires a gradient.
        """
        model, calls = setup.model, []  # type: ignore[var-annotated]
        data, leaves = differentiable(setup.batch if batch is None else batch)

        def keep(call: LeafCall) -> None:
            calls.extend((call.path, call.kind, output) for output in call.outputs if output.requires_grad)

        with Running(model) as running, LeafWatch(model, keep), failures("forward", running):
            output = model(*data.args, **data.kwargs)
        outputs = [tensor for tensor in floating(output) if tensor.requires_grad]
        if not outputs:
            raise NotApplicable("no floating output of the model depends on its inputs or parameters")
        if not any(tensor.numel() for tensor in outputs):
            raise NotApplicable("no output of the model has an entry")
        parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        rows = Rows(
            names=(*(path for path, _, _ in calls), *(f"input[{i}]" for i in range(len(leaves))), *(name for name, _ in parameters)),
            roles=(*["layer"] * len(calls), *["input"] * len(leaves), *["parameter"] * len(parameters)),
            kinds=(*(kind for _, kind, _ in calls), *[""] * (len(leaves) + len(parameters))),
        )
        return cls(outputs, [*(tensor for _, _, tensor in calls), *leaves, *(p for _, p in parameters)], rows, output, running.paths)

    def pull(self, cotangents: list[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients of Σ <output, cotangent>; zeros where a tensor is not reached.

        Raises:
            SubjectError: the backward pass raised.
            NotApplicable: the graph cannot be used twice, or not for chosen tensors.
        """
        try:
            with failures("backward"):
                return self.gradients(self.outputs, cotangents)
        except SubjectError as failure:
            if "second time" in str(failure):
                raise NotApplicable("the graph of the model cannot be differentiated twice") from None
            raise

    def gradients(self, outputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """The gradients of outputs of this graph, which is kept; modules that the backward pass calls again are noted in ``rows``.

        Raises:
            NotApplicable: a re-entrant checkpoint in the model refuses it.
        """
        try:
            with replayed(self.paths) as again:
                found = torch.autograd.grad(outputs, self.tensors, cotangents, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            if "use_reentrant=True" in str(error):
                raise NotApplicable("a re-entrant checkpoint in the model refuses gradients of chosen tensors") from None
            raise
        if again - set(self.rows.replayed):
            self.rows = replace(self.rows, replayed=tuple(sorted(again.union(self.rows.replayed))))
        return [torch.zeros_like(tensor) if g is None else g.to_dense() for tensor, g in zip(self.tensors, found, strict=True)]


@contextmanager
def replayed(paths: dict[int, str]) -> Iterator[set[str]]:
    """Paths of the modules called while the context is open: in a backward pass, those of checkpointed regions."""
    found: set[str] = set()

    def note(module: nn.Module, _: Any) -> None:
        if id(module) in paths:
            found.add(paths[id(module)])

    handle = register_module_forward_pre_hook(note)
    try:
        yield found
    finally:
        handle.remove()


def norm(tensor: torch.Tensor) -> float:
    """Euclidean norm, accumulated in float64."""
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return float(plain.detach().double().norm())


def products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The terms of the real inner product of two tensors, in float64."""
    if one.is_complex() or other.is_complex():
        return (one.detach().to(torch.complex128).conj() * other.detach().to(torch.complex128)).real
    return one.detach().double() * other.detach().double()


def differing_bits(one: torch.Tensor, other: torch.Tensor) -> int:
    """Number of bits in which two tensors of one shape and dtype differ; zeros of either sign are the same number."""
    changed = torch.bitwise_xor(plain_bytes(one), plain_bytes(other))
    return int(sum(int(((changed >> bit) & 1).sum()) for bit in range(8)))


def plain_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor (N), uint8; zeros of either sign are the same number, and a subclass has no say in it."""
    plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj()
    return (plain + 0).contiguous().reshape(-1).view(torch.uint8)  # minus zero plus zero is zero
