"""Backward pass: one forward and backward pass of the subject's own objective, measured layer by layer."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.backward_pass import SATURATION, BackwardPass
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.execution import Running, differentiable, failures, floating, objective, realise
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.producer import first_producer
from gradcheck_suite.probes.slopes import relative_slopes
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

Moments = tuple[float, float, int, int]


def backward_pass(subject: Subject, budget: Budget, seed: int) -> BackwardPass:
    """Statistics of activations, gradients, slopes and parameters (see ``captures.backward_pass.BackwardPass``).

    Raises:
        SubjectError: the subject could not be built, or its forward pass, loss or backward pass raised.
        NotApplicable: nothing in the model requires a gradient.
    """
    setup = realise(subject, seed)
    model = setup.model
    with preserved(model):
        model.zero_grad(set_to_none=True)
        batch, leaves = differentiable(setup.batch)
        record, generator = _Record(), torch.get_rng_state()
        given = moments([*leaves, *floating(setup.batch.targets), *model.parameters(), *model.buffers()])[3]
        with torch.enable_grad():
            with Running(model) as running, LeafWatch(model, record.observe), failures("forward", running):
                output = model(*batch.args, **batch.kwargs)
            value = objective(setup, output, seed)
            if not value.requires_grad:
                raise NotApplicable("nothing in the model requires a gradient")
            with failures("backward"):
                value.backward()  # type: ignore[no-untyped-call]
        inputs = moments([leaf.grad for leaf in leaves])
        facts = {**record.arrays(), **_parameter_arrays(model)}
        sick = not math.isfinite(value.item()) or inputs[3] > 0 or bool((facts["parameter_gradient_nonfinite"] > 0).any())
        torch.set_rng_state(generator)
        with failures("backward"):
            producer = first_producer(setup, batch, seed) if sick else None
        return BackwardPass(
            **facts, objective=value.item(), input_gradient_rms=inputs[0], input_gradient_nonfinite=inputs[3],
            given_nonfinite=given, epsilon=_epsilon(model), alpha=budget.alpha, producer=producer,
        )


def moments(values: list[torch.Tensor | None]) -> Moments:
    """Root mean square, share of exact zeros, number of entries and number of non-finite ones, over all tensors given."""
    square = zeros = 0.0
    entries = nonfinite = 0
    for value in values:
        if value is None or value.is_sparse:
            continue
        plain = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
        square += float(plain.double().square().sum())
        zeros += int((plain == 0).sum())
        entries += plain.numel()
        nonfinite += int((~torch.isfinite(plain)).sum())
    if entries == 0:
        return math.nan, math.nan, 0, 0
    return math.sqrt(square / entries), zeros / entries, entries, nonfinite


class _Record:
    """Rows of the capture: one per leaf call, completed by tensor hooks during the backward pass."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        self.forward: list[Moments] = []
        self.slopes: list[tuple[float, float, float, int, int]] = []
        self.gradients: list[list[torch.Tensor | None]] = []

    def observe(self, call: LeafCall) -> None:
        self.names.append((call.path, call.kind))
        self.forward.append(moments(list(call.outputs)))
        self.slopes.append(_slope_statistics(relative_slopes(call)))
        slots: list[torch.Tensor | None] = [None] * len(call.outputs)
        self.gradients.append(slots)
        for position, output in enumerate(call.outputs):
            if output.requires_grad:
                output.register_hook(_keeper(slots, position))  # type: ignore[no-untyped-call]

    def arrays(self) -> dict[str, Any]:
        forward = np.array(self.forward or np.empty((0, 4)), dtype=float)
        backward = np.array([moments(slots) for slots in self.gradients] or np.empty((0, 4)), dtype=float)
        slopes = np.array(self.slopes or np.empty((0, 5)), dtype=float)
        return {
            "paths": tuple(path for path, _ in self.names), "kinds": tuple(kind for _, kind in self.names),
            "activation_rms": frozen(forward[:, 0]), "activation_zeros": frozen(forward[:, 1]),
            "entries": frozen(forward[:, 2], "<i8"), "activation_nonfinite": frozen(forward[:, 3], "<i8"),
            "gradient_rms": frozen(backward[:, 0]), "gradient_zeros": frozen(backward[:, 1]),
            "gradient_nonfinite": frozen(backward[:, 3], "<i8"), "slope": frozen(slopes[:, 0]),
            "saturated": frozen(slopes[:, 1]), "dead": frozen(slopes[:, 2]), "units": frozen(slopes[:, 3], "<i8"),
            "channels": frozen(slopes[:, 4], "<i8"),
        }


def _keeper(slots: list[torch.Tensor | None], position: int) -> Any:
    def keep(gradient: torch.Tensor) -> None:
        slots[position] = gradient.detach().clone()

    return keep


def _slope_statistics(slopes: torch.Tensor | None) -> tuple[float, float, float, int, int]:
    if slopes is None:
        return math.nan, math.nan, math.nan, 0, 0
    units = slopes.reshape(slopes.shape[0], -1) if slopes.dim() > 1 else slopes.reshape(1, -1)
    saturated = (units.mean(0) < SATURATION).double().mean()
    dead = (units == 0).all(0).double().mean()
    return float(slopes.square().mean().sqrt()), float(saturated), float(dead), units.shape[1], _channels(slopes)


def _channels(slopes: torch.Tensor) -> int:
    """Entries along the channel axis: the first after the samples of an image; of a sequence, which may have either, the shorter."""
    if slopes.dim() < 3:
        return slopes.shape[-1] if slopes.dim() else 1
    return slopes.shape[1] if slopes.dim() > 3 else min(slopes.shape[1:])


def _parameter_arrays(model: nn.Module) -> dict[str, Any]:
    names, values, gradients = [], [], []
    for name, parameter in model.named_parameters():
        names.append(name)
        values.append(moments([parameter]))
        gradients.append((math.nan, math.nan, 0, -1) if parameter.grad is None else moments([parameter.grad]))
    value = np.array(values or np.empty((0, 4)), dtype=float)
    gradient = np.array(gradients or np.empty((0, 4)), dtype=float)
    return {
        "parameters": tuple(names), "parameter_rms": frozen(value[:, 0]), "parameter_zeros": frozen(value[:, 1]),
        "parameter_gradient_rms": frozen(gradient[:, 0]), "parameter_gradient_zeros": frozen(gradient[:, 1]),
        "parameter_gradient_nonfinite": frozen(gradient[:, 3], "<i8"),
    }


def _epsilon(model: nn.Module) -> float:
    widths = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    return min(widths, default=torch.finfo(torch.get_default_dtype()).eps)
