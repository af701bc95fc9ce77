"""What clipping the gradient's norm made of the gradients, parameter by parameter."""

import math
from dataclasses import dataclass

import numpy as np

SLACK = 1e-6
"""What ``clip_grad_norm_`` adds to the norm before it divides by it."""
# Roundings in c/(norm + slack) · g, and standard deviations that a sum of n rounding errors is given (n ≤ 10⁸: beyond once in 10⁵).
_ROUNDINGS, _DEVIATIONS = 8.0, 8.0
_SINGLE = 2.0**-24


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One call of ``torch.nn.utils.clip_grad_norm_`` on K parameters, in the order in which they were first given.

    Attributes:
        within_step: whether the optimiser's own step made the call; else the experiment did.
        source: ``file:line`` of a call within the step.
        refused: what the call raised, ``""`` for nothing; the arrays are then empty.
        parameters: names of the K parameters that have a gradient, each once.
        repeated: names of those that were given more than once.
        shared: names of those whose gradient lies in the same memory as another's.
        order: of the norm (2, or another that the step asked for).
        bound: c, the largest norm that was allowed.
        norm: the norm of the K gradients together before the call, in float64.
        before: (K,) Euclidean norm of each gradient before the call.
        deviation: (K,) Euclidean distance of each gradient after the call from its law's, min(1, c/(norm + 10⁻⁶)) times what it was.
        after: the norm of the K gradients together after the call.
        at_step: the same when the optimiser began its update (the ``step`` of torch's class, or else of the last class that has one);
            NaN where that was not seen.
        entries: (K,) int, entries of each gradient.
        epsilon: (K,) distance from 1 to the next number in each gradient's format.
        tiny: (K,) smallest normal number of that format.
    """

    within_step: bool
    bound: float
    order: float = 2.0
    source: str = ""
    refused: str = ""
    parameters: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    norm: float = 0.0
    before: np.ndarray
    deviation: np.ndarray
    after: float = 0.0
    at_step: float = math.nan
    entries: np.ndarray
    epsilon: np.ndarray
    tiny: np.ndarray

    @property
    def factor(self) -> float:
        """The law's factor."""
        return min(1.0, self.bound / (self.norm + SLACK))

    @property
    def rounding(self) -> float:
        """Bound on the relative error of the call's factor, and of each product with it.

        Eight roundings in the gradients' format, and the error of a sum of n squares, 8 √n u in the format that it is accumulated in
        (float32 for narrower ones): the probabilistic bound of Higham and Mary 2019.
        """
        unit = float(self.epsilon.max(initial=0.0)) / 2
        return _ROUNDINGS * unit + _DEVIATIONS * math.sqrt(float(self.entries.sum())) * min(unit, _SINGLE)

    @property
    def relative(self) -> np.ndarray:
        """(K,) the deviation relative to what the gradient should be; 0 where both are zero."""
        size = self.factor * self.before
        quotient: np.ndarray = np.divide(self.deviation, size, out=np.where(self.deviation > 0, np.inf, 0.0), where=size > 0)
        return quotient

    @property
    def error(self) -> np.ndarray:
        """(K,) bound on the rounding error of ``relative``: numbers below the smallest normal one may be lost altogether."""
        size, lost = self.factor * self.before, np.sqrt(self.entries) * self.tiny
        share: np.ndarray = np.divide(lost, size, out=np.zeros_like(size), where=size > 0)
        return np.asarray(self.rounding + share)
