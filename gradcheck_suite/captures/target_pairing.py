"""How the loss depends on which target belongs to which output, and whether inputs and targets vary at all."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPairing:
    """The loss of random outputs against permutations of the targets.

    Outputs are drawn twice, scaled like the targets and standard normal (a loss may take logarithms or rates); the draw whose loss changes
    more is told.

    Attributes:
        samples: number of samples, 0 where outputs, inputs and targets have no common leading axis.
        loss: of the random outputs with the targets in their order.
        permuted: (3,) with the targets in three other orders.
        altered: with other targets: what changes where the loss uses their values.
        eps: resolution to which the losses can be compared: of float32, or of the outputs where the loss takes no float64.
        output_shape: of the first floating output.
        target_shape: of the first target tensor, ``()`` where there is none.
        targets_equal: whether the targets of all samples are equal.
        inputs_equal: whether the inputs of all samples are equal.
        has_targets: whether there are target tensors.
        target_mean: mean of floating targets; NaN for others.
        target_scale: root mean square of floating targets; NaN for others.
        input_scale: root mean square of floating inputs; NaN for others.
        crest: whether outputs equal to the targets have a higher loss than outputs to either side, in every direction tried; False where
            outputs and targets are no numbers of one shape.
    """

    samples: int
    loss: float
    permuted: np.ndarray
    altered: float
    eps: float
    output_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    targets_equal: bool
    inputs_equal: bool
    has_targets: bool
    target_mean: float
    target_scale: float
    input_scale: float
    crest: bool = False
