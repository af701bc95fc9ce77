"""Repeated pass: does the same computation give the same bits."""

import math

import numpy as np
import torch

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
        first, second = _run(setup, seed), _run(setup, seed)
    second_by_name = {name: value for name, _, value in second}
    differences = [_difference(value, second_by_name.get(name)) for name, _, value in first]
    return RepeatedPass(
        names=tuple(name for name, _, _ in first), roles=tuple(role for _, role, _ in first),
        entries=frozen([value.numel() for _, _, value in first], "<i8"),
        bits=frozen([bits for bits, _ in differences], "<i8"), relative=frozen([size for _, size in differences]),
        epsilon=frozen([torch.finfo(value.dtype).eps for _, _, value in first]), training=setup.model.training,
    )


def _run(setup: Setup, seed: int) -> list[Row]:
    model = setup.model
    with preserved(model), torch.enable_grad():
        model.zero_grad(set_to_none=True)
        batch, leaves = differentiable(setup.batch)
        with Running(model) as running, failures("forward", running):
            output = model(*batch.args, **batch.kwargs)
        rows = [(f"output[{index}]", "output", tensor.detach().clone()) for index, tensor in enumerate(floating(output))]
        value = objective(setup, output, seed)
        if value.requires_grad:
            with failures("backward"):
                value.backward()  # type: ignore[no-untyped-call]
        rows += [(f"gradient of input[{index}]", "input", leaf.grad) for index, leaf in enumerate(leaves) if leaf.grad is not None]
        rows += [(name, "parameter", p.grad.clone()) for name, p in model.named_parameters() if p.grad is not None]
        return rows


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
