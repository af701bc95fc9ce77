"""A forward pass adds and removes no modules, parameters, buffers or hooks, and leaves modes, freezing and gradients as they are.

Conditions
----------
None. A lazy module is materialised before.

Why it matters
--------------
A parameter that is registered in ``forward`` is unknown to the optimiser that was made before; a hook that is added
with every call slows training down without bound; a ``backward()`` inside ``forward`` mixes its gradients into the
training step's.

Measured
--------
For each module: names of its parameters, buffers and children, number of hooks, mode, ``requires_grad`` and presence
of ``.grad`` of its parameters, before and after two forward passes.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Create parameters and hooks in ``__init__``; use ``torch.autograd.grad`` instead of ``backward()`` inside ``forward``.

Limits
------
Plain attributes are not compared: counters and caches are legitimate.

Sources
-------
PyTorch documentation, nn.Module.register_parameter and Modules, Module initialization.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import REGISTRY, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(REGISTRY, "registries")


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    symptoms=("parameters registered in forward", "hooks pile up", "backward inside forward"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="growing-hooks", module="0"),)),),
)
