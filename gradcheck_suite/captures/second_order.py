"""The gradient of the gradient against differences of gradients, call by call."""

from dataclasses import dataclass

from gradcheck_suite.captures.directional_derivative import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOrderPlace:
    """One call of one module, or several configurations of it.

    Attributes:
        module: dotted path; ``kind`` is the class name.
        status: ``agrees``, ``disagrees``, ``kink``, ``noise``, ``nothing`` (no second derivative to compare), ``promises none`` (marked as
            differentiable once, or made of operations that PyTorch cannot differentiate twice) or ``refused`` (a pass raised).
        why: the exception in words, where one was raised.
        tried: configurations compared, the call as it is included.
        changes: what differs from the call as it is in the configuration that disagrees: pairs of axis and change in words.
        place: the comparison that disagrees; numbers as for any place, of Σ⟨w, ∂g/∂(x, p, u) v⟩.
        intended: the reason declared for a mismatch here, or ``""``.
    """

    module: str
    kind: str
    status: str
    why: str = ""
    tried: int = 1
    changes: tuple[tuple[str, str], ...] = ()
    place: Place | None = None
    intended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOrder:
    """All second derivatives compared on one realisation of a subject, in float64; equal calls are compared once.

    Attributes:
        places: innermost modules first.
        everything: whether PyTorch's own operations were compared too, and not only what custom Functions take part in.
    """

    places: tuple[SecondOrderPlace, ...]
    everything: bool
