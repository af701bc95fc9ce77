"""The gradient in the model's own precision against the gradient of a float64 twin."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTwin:
    """Two gradients at the same weights on the same batch.

    Attributes:
        dtype: the narrowest that an operation of the model made (``float32``; ``bfloat16`` under autocast).
        eps: its resolution.
        difference: Euclidean norm of the difference of the two gradients over that of the twin's; NaN where the twin's is not
            finite or zero.
        finite: whether the model's own gradient is finite.
        twin_finite: whether the twin's is.
        loss: the model's own loss.
        twin_loss: the twin's.
        parameter: the parameter with the largest share of the difference.
        noise: relative difference of two runs of the model itself.
        sensitivity: relative change of the twin's gradient where its parameters change by one rounding error each, at random: what the
            model's conditioning makes of rounding (chaos, kinks), whatever the arithmetic.
        crossing: the same change for 32 rounding errors where it is more than twice 32 times as large, so that kinks were crossed; else 0.
            One rounding error crosses few of them, perhaps none in that draw and some in the model's own run.
        evaluation: whether both were run in evaluation mode because the model is random in training mode.
    """

    dtype: str
    eps: float
    difference: float
    finite: bool
    twin_finite: bool
    loss: float
    twin_loss: float
    parameter: str
    noise: float
    sensitivity: float
    evaluation: bool
    crossing: float = 0.0
