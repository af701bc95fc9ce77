"""Encoder depth sweep: the same transformer encoder, deeper and deeper."""

import math
from typing import Any

import torch

from gradcheck_suite.architectures.subjects import subject as subject_of
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.encoder_depth_sweep import EncoderDepthSweep
from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, forward, objective, realise
from gradcheck_suite.probes.gradient_rows import norm
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

DEPTHS = (2, 4, 8, 16)


def encoder_depth_sweep(subject: Subject, budget: Budget, seed: int) -> EncoderDepthSweep:
    """Build the subject's architecture with 2 to 16 of its encoder layers (see ``captures.encoder_depth_sweep``).

    Raises:
        NotApplicable: the subject was not built from an architecture with equal encoder layers in a row, Glorot weights and a loss.
        SubjectError: a network failed.
    """
    architecture = subject.architecture
    if architecture is None:
        raise NotApplicable("the model was not built from a declared architecture")
    start, count = _encoders(architecture)
    if not architecture.initialization.startswith("glorot") or not architecture.loss:
        raise NotApplicable("the law speaks of Glorot weights and a loss")
    draws = max(3, budget.draws // 4)
    rows = []
    for draw in range(draws):
        case = derive(seed, "sweep", draw)
        rows.append([_last_gradient(_deepened(architecture, start, count, depth), start + depth - 1, case) for depth in DEPTHS])
    order = str(architecture.layers[start].option("norm", "pre"))
    return EncoderDepthSweep(depths=frozen(DEPTHS, "<i8"), gradients=frozen(rows), norm=order)


def _encoders(architecture: Architecture) -> tuple[int, int]:
    """Index of the first encoder layer and their number."""
    places = [index for index, one in enumerate(architecture.layers) if one.kind == "encoder"]
    equal = {architecture.layers[index] for index in places}
    if len(equal) != 1 or places != list(range(places[0], places[-1] + 1)):
        raise NotApplicable("there are no equal encoder layers in a row")
    return places[0], len(places)


def _deepened(architecture: Architecture, start: int, count: int, depth: int) -> Architecture:
    """The architecture with ``depth`` encoder layers in place of ``count``."""
    layers = architecture.layers
    return architecture.changed(layers=(*layers[:start], *(layers[start],) * depth, *layers[start + count :]))


def _last_gradient(architecture: Architecture, index: int, seed: int) -> float:
    setup = realise(subject_of(architecture), seed)
    with preserved(setup.model), torch.enable_grad():
        setup.model.zero_grad(set_to_none=True)
        value = objective(setup, forward(setup), seed)
        with failures("backward"):
            value.backward()  # type: ignore[no-untyped-call]
        layer: Any = setup.model.get_submodule(str(index))
        gradient = layer.linear2.weight.grad
        return math.log(norm(gradient)) if gradient is not None and gradient.any() else -math.inf
