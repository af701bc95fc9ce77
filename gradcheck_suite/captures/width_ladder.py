"""The scale of every module's output at several widths, over the first steps of training."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.core.exhibits import Curve, Series

# Student's t at 0.05 % in each tail: from its value for this many degrees of freedom on, a smaller one is not used.
_T = {1: 636.6, 2: 31.60, 3: 12.92, 4: 8.61, 5: 6.87, 6: 5.96, 7: 5.41, 8: 5.04, 9: 4.78, 10: 4.59}
_T_MANY = 4.44


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthLadder:
    """W widths, N initialisations at each, S steps, M modules without children that ran at every width.

    Attributes:
        times: (W,) by how many times the subject was made wider.
        modules: paths of the M modules.
        sizes: (W, N, S + 1, M) natural logarithm of the mean absolute entry of the module's first output, before the first step and after
            each; NaN where it is zero or not finite.
        parameters: (W,) number of trainable parameters.
    """

    times: np.ndarray
    modules: tuple[str, ...]
    sizes: np.ndarray
    parameters: np.ndarray

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.sizes.shape[2]) - 1

    def slope(self, step: int, module: int) -> tuple[float, float] | None:
        """Least-squares slope of the logarithm against that of the width, and the half-width of its t interval (0.1 %).

        ``None`` where the output is zero or not finite at more than half of the points, or there are fewer than four.
        """
        logs = np.log(self.times.astype(float))[:, None] * np.ones(self.sizes.shape[:2])
        values = self.sizes[:, :, step, module]
        known = np.isfinite(values)
        if known.sum() < max(4, known.size / 2) or np.ptp(logs[known]) == 0:
            return None
        x, y = logs[known] - logs[known].mean(), values[known] - values[known].mean()
        slope = float(x @ y) / float(x @ x)
        rest = y - slope * x
        freedom = int(known.sum()) - 2
        return slope, _T.get(freedom, _T_MANY) * math.sqrt(float(rest @ rest) / freedom / float(x @ x))

    def steepest(self, step: int) -> tuple[int, float, float] | None:
        """The module whose output grows most surely with the width at a step: its position, slope and half-width."""
        found = [(module, *slope) for module in range(len(self.modules)) if (slope := self.slope(step, module)) is not None]
        return max(found, key=lambda one: one[1] - one[2], default=None)

    def curve(self, module: int) -> Curve:
        """Mean absolute entry of one module's output against the width, a line for each number of steps."""
        with np.errstate(invalid="ignore"):
            means = np.array([[row[np.isfinite(row)].mean() if np.isfinite(row).any() else math.nan for row in width.T]
                              for width in self.sizes[:, :, :, module]])
        lines = []
        for step in range(self.steps + 1):
            known = np.flatnonzero(np.isfinite(means[:, step]))
            lines.append(Series(name=f"after {step} steps", x=tuple(float(self.times[place]) for place in known),
                                y=tuple(float(np.exp(means[place, step])) for place in known)))
        return Curve(title=f"Output of {self.modules[module] or 'the model'} over the width", x_label="times as wide",
                     y_label="mean absolute entry", series=tuple(line for line in lines if line.x), log_y=True)
