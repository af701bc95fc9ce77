"""What the first optimiser steps on one fixed batch did to every parameter, compared bit by bit."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.clipping import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterFact:
    """One parameter of the model.

    Attributes:
        module: dotted path of the module that owns it.
        name: within that module.
        shape: its shape.
        trainable: whether it requires a gradient.
        exercised: whether the forward pass entered its module or a gradient reached it.
        alternative: whether another module of the same class in the same list ran instead (an expert among experts).
        held: whether the optimiser holds it.
        idle: whether it gets no gradient although its module ran, and outputs and loss stay as they are, bit for bit, when it is
            replaced: nothing depends on it.
    """

    module: str
    name: str
    shape: tuple[int, ...]
    trainable: bool
    exercised: bool
    alternative: bool
    held: bool
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """S steps of P parameters, in the order of ``parameters``.

    The steps end early where the loss or a gradient is not finite: S is then the number of steps that were finite. Steps at which the
    optimiser leaves every parameter as it is do not count where one of the next moves some (gradients gathered over several batches).

    Attributes:
        parameters: the P parameters.
        planned: steps that were to be made.
        connected: whether the loss carries a graph at all.
        stepped: whether there was an optimiser; without one the gradients are taken S times at the same point.
        optimizer: class name of the optimiser, ``""`` without one.
        losses: (S,) loss before each step, in units of the loss.
        missing: (S, P) bool, the parameter received no gradient (``grad is None``).
        zero: (S, P) bool, it received a gradient and every entry of it was exactly zero.
        gradient_norm: (S, P) Euclidean norm of the gradient.
        update_norm: (S, P) Euclidean norm of the change of the parameter in this step.
        weight_norm: (S, P) Euclidean norm of the parameter before this step.
        moving: (S, P) int, entries with a non-zero gradient.
        stuck: (S, P) int, those of them that the step left unchanged bit for bit.
        damped: (P,) int, entries of the last gradient, not zero, whose adaptive denominator is below the optimiser's epsilon;
            -1 where the optimiser has none.
        progress: (S,) Σ <gradient, change> over all parameters: the first-order change of the loss, in units of the loss.
        progress_error: (S,) bound on the rounding error of ``progress``.
        identical: (2, P) bool, all rows of the parameter are equal bit for bit, before the first and after the last step
            (parameters of at least two dimensions and two rows).
        spread: (2,) largest difference between the outputs of two samples, in evaluation mode, before and after.
        scale: (2,) largest absolute output, likewise.
        samples: number of samples, 0 where the outputs have no common leading axis.
        inputs_differ: whether some two samples have different inputs.
        stale: names of parameters that a step moved and whose gradient, not zero, was still there after ``zero_grad``.
        frozen_changes: names of parameters that require no gradient and changed, and of buffers that changed in modules
            that were in evaluation mode.
        clips: the first gradients that are not all zero, clipped on trial, and the calls that the optimiser's own steps made.
    """

    parameters: tuple[ParameterFact, ...]
    planned: int
    connected: bool
    stepped: bool
    optimizer: str
    losses: np.ndarray
    missing: np.ndarray
    zero: np.ndarray
    gradient_norm: np.ndarray
    update_norm: np.ndarray
    weight_norm: np.ndarray
    moving: np.ndarray
    stuck: np.ndarray
    damped: np.ndarray
    progress: np.ndarray
    progress_error: np.ndarray
    identical: np.ndarray
    spread: np.ndarray
    scale: np.ndarray
    samples: int
    inputs_differ: bool
    frozen_changes: tuple[str, ...]
    stale: tuple[str, ...] = ()
    clips: tuple[Clip, ...] = ()

    @property
    def steps(self) -> int:
        """Steps with finite loss and gradients."""
        return int(self.losses.shape[0])

    @property
    def trained(self) -> tuple[int, ...]:
        """Positions of the parameters that require a gradient."""
        return tuple(position for position, fact in enumerate(self.parameters) if fact.trainable)

    def by_module(self) -> dict[str, tuple[int, ...]]:
        """Positions of the trainable parameters of each module that owns some, in order."""
        found: dict[str, list[int]] = {}
        for position in self.trained:
            found.setdefault(self.parameters[position].module, []).append(position)
        return {module: tuple(positions) for module, positions in found.items()}

    def unmet(self) -> str | None:
        """Why nothing can be said of the steps, as a fact; ``None`` where something can."""
        if not self.trained:
            return "the model has no parameter that requires a gradient"
        return None if self.steps else "the loss or a gradient was not finite before the first step"

    def unfinished(self) -> str | None:
        """Why the steps say nothing of what training does, as a fact; ``None`` where all of them were made and were finite."""
        if self.trained and not self.stepped:
            return "the subject has no optimiser"
        if not self.unmet() and self.steps < self.planned:
            return f"only {self.steps} of {self.planned} steps were finite"
        return self.unmet()

    def held_mask(self) -> np.ndarray:
        """(P,) whether the optimiser holds the parameter."""
        return np.array([fact.held for fact in self.parameters], dtype=bool)

    def held_moving(self) -> np.ndarray:
        """(P,) entries with a non-zero gradient, summed over the steps, of the parameters that the optimiser holds."""
        return np.asarray(self.moving.sum(axis=0) * self.held_mask())
