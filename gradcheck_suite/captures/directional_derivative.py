"""Backprop against finite differences, place by place."""

import math
from dataclasses import dataclass

RESOLUTION = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorComparison:
    """One tensor of a place whose comparison disagreed, perturbed by itself.

    Attributes:
        name: argument or parameter, as in the module's own signature or parameter names.
        role: ``parameter``, ``input`` (it carried a gradient in training), ``data`` (it did not) or ``stub`` (an inner call's output).
        analytic, numeric, error, scale: directional derivatives along one random direction of this tensor, a bound on the
            error of their difference, and the size of what is summed in them; all in the same unit.
        entry: index of the entry whose gradient differs most, ``None`` where it was not looked for.
        entry_analytic, entry_numeric: its gradient by backprop and by differences, NaN where not looked for.
        pattern: the error in words (a constant factor, a sign, transposed, one row, nothing arrives).
    """

    name: str
    role: str
    analytic: float
    numeric: float
    error: float
    scale: float
    entry: tuple[int, ...] | None = None
    entry_analytic: float = float("nan")
    entry_numeric: float = float("nan")
    pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One comparison of a directional derivative: a module call, a container's own code, or the whole model.

    Attributes:
        module: dotted path in the model; ``""`` is the model itself.
        kind: class name of the module, or name of the loss function.
        role: ``alone`` (a module that calls no other, isolated), ``glue`` (a container's own code, its inner calls replaced by
            affine stubs), ``inside`` (a container with its inner calls), ``in place`` (a call in the whole model, at the cotangent that
            training gives it) or ``whole`` (the model with its loss).
        calls: how many calls the comparison stands for (equal modules, shapes and settings).
        status: ``agrees``, ``disagrees``, ``kink`` (no point nearby decides), ``noise`` (the error is too large to tell), ``nothing``
            (nothing could be compared) or ``not replayed`` (running it alone raised).
        analytic, numeric: the directional derivative by backprop and by differences.
        error: bound on the error of their difference, in the same unit; infinite where nothing was measured.
        scale: the size of what is summed in them, same unit.
        tensors: names of the tensors perturbed.
        relevant: whether some of the tensors that disagree carry a gradient in training (parameters, hidden activations).
        handwritten: whether a custom function, hook or registered operation takes part.
        lifted: whether casts to a narrower type were left out, because nothing could be resolved with them.
        blamed: whether the disagreement is laid on this place rather than on one inside it or around it.
        intended: the reason declared for a mismatch here, or ``""``.
        stopped: where backprop agrees once ``detach`` and ``no_grad`` are left out, ``objective`` if what is stopped is a whole
            argument or output in code that gives single numbers (a loss with a target that is held constant) or hands it out, else
            ``inside``; ``""`` where they do not explain the disagreement.
        starved: names of parameters, in the whole model, that get no gradient at all because of that.
        function, source: the custom function and its ``file:line``, where one is to blame; the line of a loss function.
        breakdown: tensor by tensor, where it disagreed.
        kinks: discrete choices met at the given point, in words.
        note: what else there is to say.
        ruled_out: other explanations that were excluded.
    """

    module: str
    kind: str
    role: str
    calls: int
    status: str
    analytic: float
    numeric: float
    error: float
    scale: float
    tensors: tuple[str, ...]
    relevant: bool = True
    handwritten: bool = False
    lifted: bool = False
    blamed: bool = False
    intended: str = ""
    stopped: str = ""
    starved: tuple[str, ...] = ()
    function: str | None = None
    source: str | None = None
    breakdown: tuple[TensorComparison, ...] = ()
    kinks: tuple[str, ...] = ()
    note: tuple[str, ...] = ()
    ruled_out: tuple[str, ...] = ()

    @property
    def worst(self) -> TensorComparison | None:
        """The tensor with the largest disagreement relative to its own scale."""
        return max(self.breakdown, key=_relative, default=None)


def _relative(tensor: TensorComparison) -> float:
    gap = abs(tensor.analytic - tensor.numeric)
    return float("inf") if math.isnan(gap) else gap / (tensor.scale or abs(tensor.numeric) or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalDerivative:
    """All comparisons on one realisation of a subject, in float64.

    Attributes:
        places: in order of execution, the whole model last.
        skipped: ``(module, what)`` for integer inputs, outputs without a gradient, calls outside of autograd: not compared.
        stale: declared intended mismatches that nothing matched: path or function name and the reason.
        notes: facts about the run as a whole.
        converted: whether the subject was made in another precision and converted for this.
        evaluations: forward passes spent, counted by call.
    """

    places: tuple[Place, ...]
    skipped: tuple[tuple[str, str], ...]
    stale: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    converted: bool
    evaluations: int

    @property
    def compared(self) -> bool:
        """Whether anything at all could be compared."""
        return any(place.status not in ("nothing", "not replayed") for place in self.places)
