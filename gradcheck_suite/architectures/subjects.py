"""Subjects made from architectures."""

import random

import numpy as np
import torch

from gradcheck_suite.architectures.build import build, loss_function, make_batch, optimizer_factory
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.program import shapes
from gradcheck_suite.core.architecture import Architecture, Layer
from gradcheck_suite.core.finding import finding_id
from gradcheck_suite.subject import Batch, Setup, Subject

_WIDTHS = ("units", "channels", "hidden")


def subject(architecture: Architecture, name: str = "") -> Subject:
    """The architecture as a subject: a fresh model and batch for every seed.

    A loss of ``""`` becomes no loss and no targets, an architecture without parameters has no optimiser.

    Raises:
        UsageError: the architecture is not valid.
    """
    shapes(architecture)

    def setup(seed: int) -> Setup:
        seed_everything(seed)
        model, batch = build(architecture, seed), make_batch(architecture, seed)
        trainable = any(True for _ in model.parameters())
        return Setup(
            model=model,
            batch=batch if architecture.loss else Batch(args=batch.args),
            loss=loss_function(architecture, model) if architecture.loss else None,
            optimizer=optimizer_factory(architecture, model) if trainable else None,
        )

    return Subject(name=name or title(architecture), setup=setup, architecture=architecture,
                   widened=lambda times: subject(widened(architecture, times), name or title(architecture)))


def widened(architecture: Architecture, times: int) -> Architecture:
    """The architecture with every layer but the last that has a weight made so many times as wide; its output keeps its shape."""
    last = max((index for index, layer in enumerate(architecture.layers) if KINDS[layer.kind].parameters), default=-1)
    return architecture.changed(layers=tuple(layer if index == last else _wider(layer, times)
                                             for index, layer in enumerate(architecture.layers)))


def _wider(layer: Layer, times: int) -> Layer:
    options = tuple((name, value * times if name in _WIDTHS and isinstance(value, int) else value) for name, value in layer.options)
    return Layer(layer.kind, options, tuple(_wider(inner, times) for inner in layer.layers))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def title(architecture: Architecture) -> str:
    """A short name: the kinds of the layers in order, the middle of a long row left out, and a hash of all the facts."""
    kinds = [layer.kind for layer in architecture.layers]
    shown = kinds if len(kinds) <= 8 else [*kinds[:4], f"({len(kinds) - 7} more)", *kinds[-3:]]
    return f"{'-'.join(shown)} {finding_id(repr(architecture))}"
