"""The gradient of a linear layer's weight is the sum of the outer products of what arrives at its output with what went in.

Conditions
----------
A trained ``nn.Linear`` runs whose output is W x + b (no mask, no quantisation) and whose weight is used by its own calls alone (not
tied), and the model runs in float64.

Why it matters
--------------
dW = Σ δ xᵀ and db = Σ δ need no derivative, only the signals at the layer's borders. A hook that scales gradients, a sum
that misses samples or positions, a transposed product, a custom linear layer that averages instead of summing: each shows at
once, and at its place.

Measured
--------
||dL/dW - Σ δ xᵀ|| over ||Σ |δ| |x|ᵀ||, and the same for the bias, for the subject's own objective; one piece of evidence per
layer, the worse of weight and bias.

Error
-----
64 units of roundoff of that scale; measured residuals over random networks are zero.

When violated
-------------
Look for hooks on the parameter named (declare those you mean), for a custom backward pass of the layer, or for a fault
inside the layer behind its output; the note gives the factor where it is one.

Limits
------
What arrives at the output may itself be wrong: other layers are the subject of ``backprop-agreement``.

Sources
-------
Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors; Goodfellow et al. 2016, Deep
Learning, section 6.5.6.
"""

from collections.abc import Iterator

import numpy as np

from gradcheck_suite.captures.outer_products import OuterProducts
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance


def measure(outer_products: OuterProducts) -> Iterator[Evidence]:
    seen = outer_products
    for index, path in enumerate(seen.paths):
        weight, bias = float(seen.weight[index]), float(np.nan_to_num(seen.bias[index]))
        name, residual = ("bias", bias) if bias > weight else ("weight", weight)
        ratio = float((seen.bias_ratio if name == "bias" else seen.weight_ratio)[index])
        epsilon = float(seen.epsilon[index])
        yield Evidence(
            quantity="relative residual of the outer product", value=residual, error=tolerance(epsilon, 1.0, units=64.0), low=0.0, high=0.0,
            resolution=2 * resolution(epsilon), where=Where(module=path, parameter=name), ruled_out=("rounding", "tied weights"),
            note=f"along the outer product the gradient is {ratio:.6g} times what it must be, over {seen.calls[index]} calls",
        )


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse")
_LAYERS = (layer("dense", units=6), layer("layer_norm"), layer("gru", units=4), layer("dense", units=2))
_SEQUENCE = _NET.changed(input_shape=(5, 4), layers=_LAYERS)


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="0", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "gradient hook", "mean instead of sum", "gradient off by a factor"),
    holds_for=(_NET, _SEQUENCE, _NET.changed(dtype="float32")),
    fails_for=(_planted("parameter-hook", 1.01), _planted("scaled-entry", 0.0), _planted("scaled-backward", 0.99),
               _planted("shifted-gradient", 0.01)),
    domain={"kinds": ("dense", "tanh", "relu", "layer_norm", "dropout", "residual", "gru", "encoder"),
            "values": ("normal", "one-hot", "masked")},
)
