"""What a sweep over configurations of the user's modules showed."""

from dataclasses import dataclass

from gradcheck_suite.captures.directional_derivative import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisCount:
    """How many configurations of one axis ended how.

    Attributes:
        axis: the kind of change, in words.
        tried: configurations that were run, or would have been refused.
        agrees: gradients that are the derivative.
        wrong: gradients that are not.
        undecided: configurations on a kink, or beyond what differences resolve.
        refused: configurations that the module does not accept (its forward or backward pass raised, or gave numbers that are not finite),
            or in which nothing can be compared.
    """

    axis: str
    tried: int
    agrees: int
    wrong: int
    undecided: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongConfiguration:
    """A configuration whose gradient is wrong.

    Attributes:
        changes: what differs from the call that the model makes: pairs of axis and change in words, the fewest that matter.
        place: the comparison there, as for any module call; its module is the innermost that is wrong.
        also: other configurations found wrong, in words.
        intended: the reason declared for a mismatch here, or ``""``.
    """

    changes: tuple[tuple[str, str], ...]
    place: Place
    also: tuple[str, ...] = ()
    intended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptModule:
    """The sweep around one call of one module.

    Attributes:
        module: dotted path; ``kind`` is the class name.
        handwritten: whether a hand-written gradient takes part as the model calls it.
        left_out: why it was not swept, or ``""``.
        axes: what was tried, axis by axis.
        planned: single changes that there are; fewer may have been tried.
        calls: forward passes spent.
        wrong: the configurations that are wrong, the simplest one of every place.
    """

    module: str
    kind: str
    handwritten: bool
    left_out: str = ""
    axes: tuple[AxisCount, ...] = ()
    planned: int = 0
    calls: int = 0
    wrong: tuple[WrongConfiguration, ...] = ()

    @property
    def tried(self) -> int:
        """Configurations in all."""
        return sum(axis.tried for axis in self.axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationSweep:
    """All sweeps on one realisation of a subject, in float64.

    Attributes:
        modules: those with code of the user's, innermost first; one call stands for all equal ones.
        stock: number of modules called whose code is PyTorch's own: not swept.
    """

    modules: tuple[SweptModule, ...]
    stock: int
