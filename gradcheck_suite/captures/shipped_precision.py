"""Gradients in the precision that a model ships in, call by call, against float64 twins of the same calls."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionPlace:
    """One call of one module, at the gradient that training gives it.

    Attributes:
        module: dotted path; ``kind`` is the class name; ``function`` and ``source`` the only custom Function inside, where there is one.
        dtype: the narrowest type that its forward pass computes in; ``roundoff`` is its unit roundoff.
        status: ``compared``, ``choices`` (the two precisions take different branches), ``not replayed`` (the twin does not run, or
            its random draws cannot be repeated), ``mathematics`` (the twin's gradient is not the derivative either), ``nothing``.
        tensor: input or parameter whose gradient is furthest off in units of what rounding explains; ``role`` says which of the two.
        difference: norm of the difference between its gradient and the twin's, over the norm of the twin's; infinite where it is
            not finite and the twin's is.
        spread: the largest such difference between the twin and three copies of it in which every operation's result, and every input and
            parameter, is off by one random roundoff of ``dtype``.
        why: what else there is to say.
        intended: the reason declared for a mismatch here, or ``""``.
    """

    module: str
    kind: str
    status: str
    dtype: str = ""
    roundoff: float = 0.0
    tensor: str = ""
    role: str = ""
    difference: float = float("nan")
    spread: float = float("inf")
    function: str | None = None
    source: str | None = None
    why: str = ""
    intended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """A cast to a narrower type in the forward pass: from there on digits are lost.

    ``cast`` is such as ``float64 to float32``, ``module`` the innermost module that makes it, ``source`` its line, ``autocast``
    whether a region of automatic mixed precision makes it.
    """

    module: str
    cast: str
    source: str | None
    autocast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedPrecision:
    """All comparisons on one realisation of a subject, as it ships.

    Attributes:
        places: calls of modules with code of the user's, each kind once; with a thorough budget of all modules.
        islands: casts to types that are narrower, also than the parameters of the module that casts.
        dtypes: floating types of the model's parameters and inputs.
    """

    places: tuple[PrecisionPlace, ...]
    islands: tuple[Island, ...]
    dtypes: tuple[str, ...]
