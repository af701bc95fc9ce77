"""How much of the loss's gradient reaches each time step of a recurrence."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.core.exhibits import Curve, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """One recurrence of T steps over N draws of the initialisation.

    Attributes:
        module: path of the recurrent module, or of the module that is called once for each step.
        kind: class name.
        norms: (N, T) Euclidean norm of the gradient of the loss with respect to the module's input at step t (its output, for a
            module called once for each step), over samples and features; 0 where it underflowed.
        reversed_too: whether the module also runs backward in time.
    """

    module: str
    kind: str
    norms: np.ndarray
    reversed_too: bool

    @property
    def steps(self) -> int:
        """T."""
        return int(self.norms.shape[1])

    def factors(self) -> np.ndarray:
        """(N,) factor of the gradient's norm per step back in time, by least squares of its logarithm; NaN where nothing is left."""
        found = []
        for row in self.norms:
            known = np.isfinite(row) & (row > 0)
            steps = np.arange(row.size)[known]
            found.append(math.exp(-np.polyfit(steps, np.log(row[known]), 1)[0]) if steps.size >= 3 else math.nan)
        return np.array(found)

    def decades(self) -> np.ndarray:
        """(N,) log10 of the gradient's norm at the first step over that at the last; minus infinity where it underflowed."""
        first, last = self.norms[:, 0], self.norms[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(last > 0, np.log10(first / last), np.nan)

    def curve(self) -> Curve:
        """The norm at each step over the last step's, in decades, the mean over the draws; steps without a gradient are left out."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(self.norms / self.norms[:, -1:])
        known = np.isfinite(logs).all(axis=0)
        steps = np.flatnonzero(known)
        line = Series(name=self.kind, x=tuple(float(t) for t in steps), y=tuple(float(y) for y in logs[:, known].mean(axis=0)))
        return Curve(title="Gradient over time", x_label="time step", y_label="log10 of the norm over the last step's", series=(line,))


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalProfile:
    """The recurrences of a model.

    Attributes:
        recurrences: one per recurrent module that ran over at least four steps.
        eps: resolution of the dtype of the gradients.
    """

    recurrences: tuple[Recurrence, ...]
    eps: float
