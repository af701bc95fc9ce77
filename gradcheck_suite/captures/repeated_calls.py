"""The same forward and backward pass again and again, while counters and flags that modules hold run on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """A few calls in one mode, the first left aside: it may fill caches and initialise.

    Attributes:
        mode: ``train`` or ``eval``.
        calls: how many calls were compared.
        compared: how many tensors of one call were compared: outputs of leaf layers, outputs of the model, gradients.
        differing: how many of them differed bit for bit from the first of these calls in any later one.
        module: path of the leaf layer whose output differs first, ``""`` where only the model's output or a gradient does.
        what: the first that differs, in words; ``""`` where nothing does.
    """

    mode: str
    calls: int
    compared: int
    differing: int
    module: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedCalls:
    """Repeated calls from the same parameters, buffers, carried tensors, inputs and generator states.

    Attributes:
        modes: the modes that were run: the subject's own first, then ``eval``.
        unread: modes that could not be compared, each with the reason (mode, text).
    """

    modes: tuple[Calls, ...]
    unread: tuple[tuple[str, str], ...] = ()
