"""Which tensors a backward pass would fill, against those that the model registers and the optimiser holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLeaf:
    """A leaf of the graph that requires a gradient and is no parameter of the model.

    Attributes:
        shape: its shape.
        place: where it was found among the attributes of the modules (``encoder.layers[0].weight``), ``""`` for nowhere: it is
            made anew by the forward pass or belongs to the loss.
        module: path of the module whose attribute leads to it, ``None`` where there is none.
        held: whether the optimiser holds it.
        parameter: whether it is an ``nn.Parameter``; a plain tensor made by the forward pass may be a coordinate to differentiate in.
    """

    shape: tuple[int, ...]
    place: str
    module: str | None
    held: bool
    parameter: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLeaves:
    """Leaves of the graph of one loss.

    Attributes:
        leaves: number of leaves of the graph that are parameters of the model.
        foreign: those that are not; inputs and targets that require gradients, and copies of them, are left out.
        trainable: names of the parameters that require a gradient.
        optimizer: class name of the optimiser, ``""`` without one.
        uncovered: names of trainable parameters that it does not hold.
        repeated: names of parameters that it holds more than once.
        strangers: shapes of tensors that it holds, that are no parameters of the model and that the loss does not depend on.
    """

    leaves: int
    foreign: tuple[ForeignLeaf, ...]
    trainable: tuple[str, ...]
    optimizer: str
    uncovered: tuple[str, ...]
    repeated: tuple[str, ...]
    strangers: tuple[tuple[int, ...], ...]
