"""Which units of which layers respond, and how much of a gradient their activation functions let through."""

import math
from dataclasses import dataclass

# activation functions that are flat at both ends
FLAT = ("sigmoid", "tanh", "hardtanh")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerActivity:
    """One activation function at one place in the model, all its calls there over one batch.

    Attributes:
        module: path of the module that ran it.
        function: its name (``relu``, ``sigmoid``, ``softmax``, ...).
        after: path of the module without children that had run last before it, ``""`` for none.
        units: number of units (features or channels).
        dead: units whose slope is exactly zero for every sample and position, and whose input is not.
        observations: values seen per unit.
        slope: mean over all entries of the local slope divided by the largest slope the function has; NaN for a softmax.
        spread: standard deviation of the logits within a row, mean over rows; NaN but for a softmax.
        choices: entries in a row of a softmax; 0 elsewhere.
        concentration: mean over rows of the sum of squared probabilities (1 / choices when even, 1 when one-hot); NaN elsewhere.
        inner: whether the softmax's result is multiplied by a matrix (attention), rather than returned or compared.
        final: whether the result of an elementwise function is the model's output.
        spreads: ``spread`` in further initialisations, drawn where that of the first exceeds sqrt(2 ln choices); empty elsewhere, and
            where another seed gives the same weights.
    """

    module: str
    function: str
    after: str
    units: int
    dead: int
    observations: int
    slope: float
    spread: float
    choices: int
    concentration: float
    inner: bool
    final: bool
    spreads: tuple[float, ...] = ()

    @property
    def place(self) -> str:
        """The module to look at: the one that ran the function, or, where the whole model did, the layer before it."""
        return self.module or self.after

    @property
    def freezing(self) -> float:
        """Spread of a softmax's logits over sqrt(2 ln choices): above 1 a few of the choices take all the weight.

        For independent normal logits this is the freezing transition of the random energy model (Derrida, Physical Review
        B 24 (1981) 2613): the sum of squared probabilities tends to 0 below it and to 1 - 1/freezing above it.
        """
        return self.spread / self.freezing_point

    @property
    def freezing_point(self) -> float:
        """sqrt(2 ln choices); NaN where there is no choice."""
        return math.sqrt(2.0 * math.log(self.choices)) if self.choices > 1 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitActivity:
    """The activation functions of a model in order of execution, at initialisation and after three optimiser steps.

    Attributes:
        layers: at the point that the subject's setup makes.
        later: after three steps of the subject's optimiser; empty where there is none or a step was not finite.
        standardised: at the start, on inputs of mean 0 and standard deviation 1; empty without numeric inputs that vary.
        samples: number of samples of the batch.
    """

    layers: tuple[LayerActivity, ...]
    later: tuple[LayerActivity, ...]
    standardised: tuple[LayerActivity, ...]
    samples: int
