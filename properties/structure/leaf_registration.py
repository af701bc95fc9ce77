"""Every trainable tensor that the loss depends on is a parameter of the model.

Conditions
----------
The loss carries a graph.

Why it matters
--------------
Layers kept in a Python list, tensors with ``requires_grad`` as plain attributes and parameters made anew in ``forward`` take part in
the computation, but ``model.parameters()`` does not know them: the optimiser never moves them, ``state_dict`` does not save them and
``.to()`` does not move them.

Measured
--------
The leaves of the autograd graph of one loss that require a gradient, are no parameters of the model and are not inputs or targets.
One piece of evidence per leaf, with the attribute that leads to it. Leaves that the optimiser holds although the model does not
know them (parameters of the loss) are trained and not counted.

Error
-----
None: tensors are compared by identity.

When violated
-------------
Use ``nn.ModuleList`` or ``nn.ParameterList`` in place of a list, ``nn.Parameter`` in place of a tensor, and make parameters in
``__init__``.

Limits
------
Only what this batch's forward pass uses is seen. A buffer that requires a gradient is an indicator, and so is a plain tensor
that no attribute holds: the forward pass may have made it to differentiate in it (coordinates), not to train it.

Sources
-------
PyTorch documentation, nn.ModuleList and nn.Module.register_parameter.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.graph_leaves import GraphLeaves
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def connected(graph_leaves: GraphLeaves) -> str | None:
    """The loss depends on something that requires a gradient."""
    return None if graph_leaves.leaves or graph_leaves.foreign else "the loss depends on nothing that requires a gradient"


def measure(graph_leaves: GraphLeaves) -> Iterator[Evidence]:
    lost = [leaf for leaf in graph_leaves.foreign if leaf.place or not leaf.held]
    if not lost:
        yield _evidence(0, Where(), "")
    for leaf in lost:
        buffer = "_buffers[" in leaf.place
        kind = "a buffer: saved and moved, never trained" if buffer else "not registered (a Python list, or a plain tensor)"
        place = f"the attribute {leaf.place}, which is {kind}" if leaf.place else (
            "no attribute of the model: it is made anew by the forward pass, or belongs to the loss and is not in the optimiser")
        level = None if leaf.parameter or (leaf.place and not buffer) else Level.INDICATOR
        yield _evidence(1, Where(module=leaf.module, parameter=leaf.place or None),
                        f"a trainable tensor of shape {leaf.shape} is not in model.parameters(); found at {place}", level)


def _evidence(count: int, where: Where, note: str, level: Level | None = None) -> Evidence:
    return Evidence(quantity="trainable leaves outside the model's parameters", value=float(count), error=0.0, low=0.0, high=0.0,
                    where=where, note=note, level=level)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse")

PROPERTY = Property(
    measure=measure,
    conditions=(connected,),
    symptoms=("unregistered layers", "parameters missing from model.parameters()", "layers in a Python list"),
    holds_for=(_NET,),
    fails_for=(_NET.changed(defects=(Defect(kind="unregistered", module="0"),)),),
)
