"""The optimiser holds each trainable parameter of the model once, and nothing that the loss does not depend on.

Conditions
----------
The subject has an optimiser and parameters that require gradients.

Why it matters
--------------
An optimiser made before a layer was replaced, given another model's parameters, or given a generator that was used up, trains the wrong
thing or nothing at all. A parameter held twice takes two steps for one.

Measured
--------
The number of trainable parameters that the optimiser does not hold, of parameters it holds more than once, and of tensors it holds that
are no parameters of the model and that the loss does not depend on. Frozen parameters may be held.

Error
-----
None: tensors are compared by identity.

When violated
-------------
Make the optimiser after the model is complete, from ``model.parameters()``; say ``requires_grad_(False)`` of what is meant to rest.

Limits
------
One optimiser is seen: a model trained by several shows the others' parameters as missing.

Sources
-------
PyTorch documentation, torch.optim, Constructing it: parameters must exist, and be on their device, before the optimiser is made.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.graph_leaves import GraphLeaves
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def optimised(graph_leaves: GraphLeaves) -> str | None:
    """There are an optimiser and something to train."""
    if not graph_leaves.trainable:
        return "the model has no parameter that requires a gradient"
    return None if graph_leaves.optimizer else "the subject has no optimiser"


def measure(graph_leaves: GraphLeaves) -> Iterator[Evidence]:
    seen = graph_leaves
    missing, twice, strange = list(seen.uncovered), list(seen.repeated), seen.strangers
    yield _evidence("trainable parameters that the optimiser does not hold", missing,
                    f"{len(missing)} of {len(seen.trainable)} trainable parameters are not in the optimizer: {', '.join(missing[:4])}")
    yield _evidence("parameters that the optimiser holds more than once", twice, f"held twice by the optimizer: {', '.join(twice[:4])}")
    shapes = ", ".join(map(str, strange[:4]))
    yield _evidence("tensors of another model that the optimiser holds", [""] * len(strange),
                    f"the optimizer holds {len(strange)} tensors of another model, of shapes {shapes}")


def _evidence(quantity: str, names: list[str], note: str) -> Evidence:
    module, _, parameter = names[0].rpartition(".") if names else ("", "", "")
    return Evidence(quantity=quantity, value=float(len(names)), error=0.0, low=0.0, high=0.0, note=note if names else "",
                    where=Where(module=module, parameter=parameter) if parameter else Where())


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)

PROPERTY = Property(
    measure=measure,
    conditions=(optimised,),
    symptoms=("optimiser misses parameters", "optimiser holds another model", "uncovered parameters"),
    holds_for=(_NET, _NET.changed(defects=(Defect(kind="frozen", module="0"),))),
    fails_for=tuple(_NET.changed(defects=(Defect(kind="partial-optimizer", module=module),)) for module in ("0", "2")),
)
