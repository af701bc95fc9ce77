"""What hand-written backward passes do beside computing a gradient."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One clause of the contract of a backward pass, for one custom Function in one module.

    Attributes:
        module: dotted path of the innermost module that calls it; ``kind`` is that module's class name.
        function, source: the Function and the ``file:line`` of its backward pass.
        clause: ``incoming gradient``, ``inputs`` and ``outputs`` (none of which a backward pass may change), ``repetition`` (a second
            backward pass through the same graph gives the same bits), ``shape`` and ``dtype`` (of the gradients it returns).
        count: entries that changed or differ, or gradients of another shape or dtype than their inputs.
        of: entries or gradients in all.
        detail: what was seen, in words.
        intended: the reason declared for a mismatch here, or ``""``.
    """

    module: str
    kind: str
    function: str
    source: str | None
    clause: str
    count: int
    of: int
    detail: str = ""
    intended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardContract:
    """All clauses on one realisation of a subject, in float64; equal calls are looked at once.

    Attributes:
        clauses: every clause of every custom Function met, kept or broken.
        functions: how many different Functions were called.
    """

    clauses: tuple[Clause, ...]
    functions: int
