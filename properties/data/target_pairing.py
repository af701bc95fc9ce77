"""The loss depends on which target belongs to which output.

Conditions
----------
The subject has a loss and at least two samples with different targets, and the loss uses the values of the targets.

Why it matters
--------------
Outputs of shape (n, 1) against targets of shape (n,) are broadcast to n × n pairs: every output is compared with every target, and the
best the model can do is the mean. Nothing fails, the loss falls, and R² stays at zero. A sort, a sum over the wrong axis or shuffled
targets do the same.

Measured
--------
The loss of random outputs with the targets in their order and in three other orders; the largest difference, relative to the loss.
Outputs are drawn scaled like the targets and, again, standard normal; the larger of the two differences counts.

Error
-----
The rounding of a sum in another order: 32 units in the last place of the loss.

When violated
-------------
Compare ``output.shape`` with ``targets.shape`` before the loss: squeeze or unsqueeze one of them (``targets[:, None]``).

Limits
------
A loss that compares distributions rather than pairs (optimal transport, moment matching) is indifferent to order by design.

Sources
-------
Identity: a sum over samples of l(output_i, target_i) changes under a permutation of the targets unless l does not couple the two;
PyTorch's UserWarning "Using a target size that is different to the input size" describes the commonest cause.
"""

import math

import numpy as np

from gradcheck_suite.captures.target_pairing import TargetPairing
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def targets_used(target_pairing: TargetPairing) -> str | None:
    """Targets differ between samples, and their values matter to the loss."""
    if not target_pairing.has_targets:
        return "the subject has no targets"
    if target_pairing.samples < 3 or target_pairing.targets_equal:
        return "the batch has no three samples with different targets on its leading axis"
    if not math.isfinite(target_pairing.loss) or not np.isfinite(target_pairing.permuted).all():
        return "the loss of random outputs is not finite"
    if target_pairing.altered == target_pairing.loss and (target_pairing.permuted == target_pairing.loss).all():
        return "the loss of random outputs does not depend on the targets' values"
    return None


def measure(target_pairing: TargetPairing) -> Evidence:
    seen = target_pairing
    size = abs(seen.loss) or 1.0
    difference = float(np.abs(seen.permuted - seen.loss).max()) / size
    resolution = 32 * seen.eps
    note = "" if difference > resolution else (
        f"the loss ignores the pairing of outputs and targets: outputs of shape {seen.output_shape} and targets of shape "
        f"{seen.target_shape} are broadcast, or the targets are summed before they are compared; make the shapes equal")
    return Evidence(quantity="largest change of the loss when the targets are permuted, relative", value=difference, error=0.0,
                    low=math.nextafter(resolution, 1.0), high=math.inf, where=Where(), note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=1)), loss="mse", batch=16)

PROPERTY = Property(
    measure=measure,
    conditions=(targets_used,),
    symptoms=("loss ignores the pairing", "targets broadcast against outputs", "target alignment"),
    holds_for=(_NET, _NET.changed(layers=(layer("dense", units=3),), loss="cross-entropy")),
    fails_for=(_NET.changed(defects=(Defect(kind="broadcast-targets", module=""),)),),
)
