"""In evaluation mode a forward pass leaves every buffer as it is, bit for bit.

Conditions
----------
The forward pass runs in evaluation mode.

Why it matters
--------------
Running statistics that move in evaluation mode make results depend on the order in which a model is evaluated, and
leak the test set into the model.

Measured
--------
For each buffer, the number of entries that differ after two forward passes in eval mode.

Error
-----
None: values are compared bit by bit, NaN with NaN.

When violated
-------------
Update buffers only ``if self.training``; pass ``self.training`` on to ``F.batch_norm`` and the like.

Limits
------
Buffers may change in train mode: batch normalisation and spectral normalisation do. A cache that is filled once, and
before the probe, is not seen.

Sources
-------
Ioffe and Szegedy, Batch normalization, ICML 2015, section 3.1 (inference uses fixed statistics); PyTorch
documentation, nn.Module.eval.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.forward_effects import BUFFER, ForwardEffects
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


def evaluated(forward_effects: ForwardEffects) -> str | None:
    """The forward pass can run in evaluation mode."""
    failed = dict(forward_effects.failed).get("eval")
    return f"the forward pass raises in evaluation mode: {failed}" if failed else None


def measure(forward_effects: ForwardEffects) -> Iterator[Evidence]:
    return forward_effects.constancy(BUFFER, "buffers", ("eval",))


_NET = Architecture(input_shape=(4,), layers=(layer("dense", units=6), layer("batch_norm"), layer("relu"), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    domain={},
    conditions=(evaluated,),
    symptoms=("running statistics change in eval mode", "drifting buffers"),
    holds_for=(_NET, _NET.changed(training=False)),
    fails_for=(_NET.changed(defects=(Defect(kind="drifting-buffers", module="1"),)),),
)
