"""Whether a sample's output depends on the samples beside it, and an earlier position's output on later positions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How much of one output changes when something it must not depend on is replaced.

    Attributes:
        change: largest absolute change of the output.
        scale: largest absolute output.
        noise: largest absolute change between two runs on the same batch with the same random numbers.
        gradient: largest absolute gradient of that output with respect to what it must not depend on; 0 where the inputs are
            not floating.
        module: path of the first module whose output changes while its input does not; ``None`` where none changes.
        class_name: its class.
        eps: resolution of the output's dtype.
    """

    change: float
    scale: float
    noise: float
    gradient: float
    module: str | None
    class_name: str
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchComposition:
    """Mixing between samples and between positions, in evaluation mode.

    Attributes:
        samples: number of samples; 0 where outputs and inputs have no common leading axis.
        related: why samples may depend on each other, as a fact (an input relates them, the samples lie on the second axis);
            ``""`` where nothing says so.
        mixing: of one sample's output with the other samples; the worse of the first and the last sample; ``None`` without
            two samples.
        shift: by how many positions the targets are the inputs of later positions (1 for next-token prediction), 0 where they
            are not.
        positions: number of positions in a sequence.
        foresight: of earlier positions' outputs with the input that their target is; ``None`` where ``shift`` is 0.
    """

    samples: int
    related: str
    mixing: Mixing | None
    shift: int
    positions: int
    foresight: Mixing | None
