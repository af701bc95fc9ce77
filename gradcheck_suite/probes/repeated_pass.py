"""Repeated pass: does the same computation give the same bits."""

import contextlib
import math

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.repeated_pass import RepeatedPass
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.probes.execution import Running, differentiable, failures, floating, objective, realise
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Row = tuple[str, str, torch.Tensor]


def repeated_pass(subject: Subject, budget: Budget, seed: int) -> RepeatedPass:
    """Run forward and backward twice from one state (see ``captures.repeated_pass.RepeatedPass``).

    Raises:
        SubjectError: the subject could not be built, or a pass raised.
    """
    setup = realise(subject, seed)
    with preserved(setup.model):
        first, again = _run(setup, seed, twice=True)
        second, _ = _run(setup, seed, twice=False)
    pairs = [_difference(value, _named(second, name)) for name, _, value in first]
    repeats = [_difference(value, _named(again, name)) if role != "output" and again else (-1, 0.0) for name, role, value in first]
    return RepeatedPass(
        names=tuple(name for name, _, _ in first), roles=tuple(role for _, role, _ in first),
        entries=frozen([value.numel() for _, _, value in first], "<i8"),
        bits=frozen([bits for bits, _ in pairs], "<i8"), relative=frozen([size for _, size in pairs]),
        again_bits=frozen([bits for bits, _ in repeats], "<i8"), again_relative=frozen([size for _, size in repeats]),
        epsilon=frozen([torch.finfo(value.dtype).eps for _, _, value in first]), training=setup.model.training,
    )


def _named(rows: list[Row], name: str) -> torch.Tensor | None:
    return next((value for found, _, value in rows if found == name), None)


def _run(setup: Setup, seed: int, *, twice: bool) -> tuple[list[Row], list[Row]]:
    """Outputs and gradients of one pass; with ``twice`` also the gradients of a second backward pass through the same graph."""
    model = setup.model
    with preserved(model), torch.enable_grad():
        model.zero_grad(set_to_none=True)
        batch, leaves = differentiable(setup.batch)
        with Running(model) as running, failures("forward", running):
            output = model(*batch.args, **batch.kwargs)
        rows = [(f"output[{index}]", "output", tensor.detach().clone()) for index, tensor in enumerate(floating(output))]
        value = objective(setup, output, seed)
        again: list[Row] = []
        if value.requires_grad:
            with failures("backward"):
                value.backward(retain_graph=twice)  # type: ignore[no-untyped-call]
            rows += _gradients(model, leaves)
        if twice and value.requires_grad:
            model.zero_grad(set_to_none=True)
            for leaf in leaves:
                leaf.grad = None
            with contextlib.suppress(RuntimeError):
                value.backward()  # type: ignore[no-untyped-call]
                again = _gradients(model, leaves)
        return rows, again


def _gradients(model: nn.Module, leaves: list[torch.Tensor]) -> list[Row]:
    rows = [(f"gradient of input[{i}]", "input", leaf.grad.clone()) for i, leaf in enumerate(leaves) if leaf.grad is not None]
    return rows + [(name, "parameter", p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None]


def _difference(one: torch.Tensor, other: torch.Tensor | None) -> tuple[int, float]:
    """Differing bits, and the largest difference over the root mean square; a missing or reshaped twin differs everywhere."""
    if other is None or one.shape != other.shape or one.dtype != other.dtype:
        return one.numel() * one.element_size() * 8, math.inf
    one, other = one.to_dense(), other.to_dense()
    left, right = (t.contiguous().reshape(-1).view(torch.uint8).cpu().numpy() for t in (one, other))
    bits = int(np.unpackbits(left ^ right).sum())
    if bits == 0:
        return 0, 0.0
    a, b = one.detach().double(), other.detach().double()
    scale = float(a.square().mean().sqrt())
    return bits, float((a - b).abs().max()) / scale if scale > 0 else math.inf
