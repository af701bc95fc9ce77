"""Subject: what is under test. Something that makes a model, a batch and a loss from a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradcheck_suite.core.architecture import Architecture

if TYPE_CHECKING:
    import torch

    Loss = Callable[[Any, Any], torch.Tensor]
    OptimizerFactory = Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True, slots=True)
class Batch:
    """The arguments of one call of the model, and the targets of the loss (``None`` where there is no loss)."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    targets: Any = None


@dataclass(frozen=True, slots=True)
class Setup:
    """One realisation of a subject: a model in the mode under test and what it is run on.

    Attributes:
        model: the module; its mode (train or eval) is the one under test.
        batch: what it is called with.
        loss: ``(output, targets) -> scalar``, or ``None``: all floating outputs found in the nested result are then
            contracted with a random non-unit cotangent.
        optimizer: ``(parameters) -> Optimizer`` or ``None``.
        steps: the owner's training budget in steps, or ``None``.
        intended: declared intended mismatches: module path or Function name -> reason.
    """

    model: "torch.nn.Module"
    batch: Batch
    loss: "Loss | None" = None
    optimizer: "OptimizerFactory | None" = None
    steps: int | None = None
    intended: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is under test.

    Attributes:
        name: shown to people; data of the user's.
        setup: called with a seed; seeds every global generator, then makes a fresh realisation. For an instance that is
            not ``fresh`` it returns the same model each time, which probes must leave bit-identical.
        fresh: whether ``setup`` makes a new model for every seed, so that initialisation can be sampled.
        target: the string that leads to it again (``pkg.module:factory``), where there is one.
        architecture: the plain data it was built from, for generated networks.
        instance: the caller's own model, where it is not ``fresh``: whoever runs probes restores it afterwards.
        remedy: name of the remedy that was applied, ``""`` for none: probes then leave out trials of their own.
        widened: called with a whole number, the subject that many times as wide, where its maker takes a width.
    """

    name: str
    setup: Callable[[int], Setup]
    fresh: bool = True
    target: str = ""
    architecture: Architecture | None = None
    instance: "torch.nn.Module | None" = None
    remedy: str = ""
    widened: "Callable[[int], Subject] | None" = None
