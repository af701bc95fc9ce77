"""Every dense and convolutional weight has the variance of the initialisation that was declared.

Conditions
----------
The initialisation is declared (generated networks), fresh initialisations can be drawn, and some layer is dense or
convolutional.

Why it matters
--------------
The laws of gradient scale hold for the weights that were declared. A call that was forgotten, a gain for another activation,
PyTorch's truncated normal (0.774 of the nominal variance) or its fan-out that ignores groups change the factor per layer,
and thirty layers raise it to the thirtieth power.

Measured
--------
log of the mean square of a weight's entries over all draws, divided by the declared variance; one piece of evidence per
weight.

Error
-----
None beside rounding; the scatter is in the interval: χ² for Gaussian entries, Bernstein's inequality for uniform and
truncated ones, exact for orthogonal matrices. False alarms over all weights: at most alpha.

When violated
-------------
Initialise the weight named as declared; the note tells by what factor its variance is off.

Limits
------
Entries of the right variance and the wrong law (all equal, say) pass.

Sources
-------
He et al. 2015, arXiv:1502.01852; Glorot and Bengio 2010; LeCun et al. 1998; Saxe et al. 2014, arXiv:1312.6120; PyTorch
documentation of ``torch.nn.init``.
"""

import math
from collections.abc import Iterator

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.weight_variances import entry_law


def weights(structure: Structure, draws: GradientNormDraws) -> list[int]:
    """Columns of the draws' weights that belong to declared dense and convolutional layers."""
    layers = () if structure.architecture is None else structure.architecture.walk()
    names = {f"{path}.weight" for path, one in layers if one.kind in ("dense", "conv1d", "conv2d")}
    return [column for column, name in enumerate(draws.weights) if name in names]


def declared(structure: Structure, gradient_norm_draws: GradientNormDraws) -> str | None:
    """An initialisation is declared for some dense or convolutional layer."""
    if structure.initialization is None:
        return "no initialisation is declared"
    return None if weights(structure, gradient_norm_draws) else "no layer is dense or convolutional"


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Iterator[Evidence]:
    draws, name = gradient_norm_draws, structure.initialization or ""
    columns = weights(structure, draws)
    for column in columns:
        fan_in, fan_out, entries = (int(facts[column]) for facts in (draws.fan_in, draws.fan_out, draws.weight_entries))
        law = entry_law(name, fan_in, fan_out, (entries // fan_in, fan_in))
        if law is None:
            continue
        square = float(draws.weight_square[:, column].mean())
        low, high = law.band(entries * draws.draws, draws.alpha / len(columns))
        module, _, parameter = draws.weights[column].rpartition(".")
        yield Evidence(
            quantity="log of the mean square over the declared variance", error=0.0, low=low, high=high,
            where=Where(module=module, parameter=parameter),
            value=math.log(square / law.variance) if square > 0 else -math.inf,
            note=f"{name} declares a variance of {law.variance:.4g}, the entries have {square:.4g}, {square / law.variance:.4g} times that",
        )


def _net(initialization: str, *defects: Defect) -> Architecture:
    image = (layer("conv2d", channels=6, padding=1, groups=2), layer("relu"), layer("flatten"))
    layers = (*image, layer("dense", units=12), layer("relu"), layer("dense", units=3))
    return Architecture(input_shape=(2, 4, 4), layers=layers, batch=1, initialization=initialization, defects=defects)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    conditions=(declared,),
    symptoms=("bad initialization", "wrong gain", "layer initialised differently"),
    remedies=("he-initialization",),
    holds_for=(_net("he-normal"), _net("torch-default"), _net("orthogonal"), _net("truncated-normal"), _net("glorot-uniform")),
    fails_for=(_net("he-normal", Defect(kind="gain", module="3", strength=1.1)),
               _net("he-uniform", Defect(kind="gain", module="0", strength=0.5))),
    domain={"kinds": ("dense", "conv1d", "conv2d", "relu", "tanh", "residual", "flatten")},
)
