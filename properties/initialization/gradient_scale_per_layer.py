"""In a network of dense layers and rectifiers no single layer changes the scale of the squared gradient norm.

Conditions
----------
As for ``gradient-scale-across-depth``: a plain chain of dense layers on vectors with a rectifier behind every one but the last, fresh
initialisations, an input that is not zero; unless the initialisation is declared, a change is judged only beyond half of the
digits of the gradient's norm.

Why it matters
--------------
A layer that was initialised by another rule than its neighbours (a forgotten call, a custom layer, a checkpoint half loaded) stretches or
shrinks the gradient for all layers below it, and an opposite error further on hides it from every end-to-end measurement.

Measured
--------
log10 of the squared gradient norm before a dense layer over that behind its rectifier, averaged over fresh initialisations. The allowed
interval is a Chernoff bound of the exact law for critical weights: variance 2/(1+a²)/fan-in (or fan-out) times χ² with n degrees of freedom
times the share that the rectifier lets through. The layer that deviates most is the evidence, all of them are in the table.

Error
-----
None beside rounding; the scatter of the draws is in the interval. False alarms over all layers: at most alpha.

When violated
-------------
Initialise the layer named by the same rule as its neighbours. Where all layers deviate alike the rule does not fit the activation: see
``gradient-scale-across-depth``.

Limits
------
The last matrix is not held to a variance where no rectifier stands behind it. A narrow layer scatters much, and its interval is wide.

Sources
-------
He et al. 2015, arXiv:1502.01852, section 2.2; Hanin and Nica 2020, Commun. Math. Phys. 376 (independence of the factors).
"""

import math

import numpy as np

from gradcheck_suite.captures.chains import dense_chain, gradients_at_matrices, lawless, no_rectifier_chain, weight_columns
from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rectifier_test import reference

DECADE = math.log(10)


def rectified(structure: Structure) -> str | None:
    """A rectifier stands behind every dense layer but the last."""
    return no_rectifier_chain(structure)


def lawful(structure: Structure, gradient_norm_draws: GradientNormDraws) -> str | None:
    """The input is not zero, and an undeclared law of weights and biases is symmetric and untouched."""
    return lawless(structure, gradient_norm_draws)


def measure(structure: Structure, gradient_norm_draws: GradientNormDraws) -> Evidence:
    draws, chain = gradient_norm_draws, dense_chain(structure)
    columns, declared = weight_columns(chain, draws), structure.initialization or ""
    law = reference(
        chain.widths, chain.slopes, ("out",) if declared.endswith("fan-out") else ("in",) if declared.startswith("he-") else ("in", "out"),
        last_square=draws.weight_square[:, columns[-1]], kurtosis=draws.kurtosis[columns], concentration=float(draws.concentration.max()),
    )
    at = gradients_at_matrices(chain, draws)[np.isfinite(draws.ratio)]
    if not len(at):
        raise NotApplicable("no gradient arrived at the input in any draw")
    at = np.column_stack([at, np.zeros(len(at))])
    ratios = (at[:, :-1] - at[:, 1:]).mean(0)[: law.hidden]
    bands = np.array([law.layer_band(index, len(at), draws.alpha / law.hidden) for index in range(law.hidden)])
    middle, width = bands.mean(1), np.diff(bands, axis=1)[:, 0]
    outside = [chain.paths[index] for index in np.flatnonzero((ratios < bands[:, 0]) | (ratios > bands[:, 1]))]
    fact = structure.harmless(max((float(at[:, 0].mean()), *ratios.tolist()), key=abs), draws.epsilon) if outside else None
    if fact:
        raise NotApplicable(fact)
    worst = int(np.argmax(np.abs(ratios - middle) / width))
    decades = (np.column_stack([ratios, bands]) / DECADE).tolist()
    rows = tuple((path, *row) for path, row in zip(chain.paths, decades, strict=False))
    alone = declared.startswith("he-") or len(outside) < law.hidden / 2
    return Evidence(
        quantity="log10 of the squared gradient norm, before the layer over behind its rectifier", value=decades[worst][0], error=0.0,
        low=decades[worst][1], high=decades[worst][2], unit="decades", where=Where(module=chain.paths[worst]),
        note=f"{len(outside)} of {law.hidden} layers deviate: {', '.join(f'module {path}' for path in outside)}" if outside else "",
        exhibits=(Table(title="Layers", columns=("layer", "log10 ratio", "allowed from", "to"), rows=rows),),
        level=Level.REQUIREMENT if alone else Level.INDICATOR,
    )


def _chain(depth: int, *defects: Defect, **facts: object) -> Architecture:
    hidden = [item for _ in range(depth) for item in (layer("dense", units=32), layer("relu"))]
    layers = (*hidden, layer("dense", units=10))
    return Architecture(input_shape=(32,), layers=layers, batch=2, initialization="he-normal", defects=defects).changed(**facts)


def _gain(module: str, strength: float) -> Defect:
    return Defect(kind="gain", module=module, strength=strength)


PROPERTY = Property(
    measure=measure,
    stochastic=True,
    conditions=(rectified, lawful),
    symptoms=("bad initialization", "vanishing gradient", "exploding gradient", "layer initialised differently"),
    remedies=("he-initialization",),
    holds_for=(_chain(6), _chain(3, initialization="he-uniform")),
    fails_for=(_chain(6, _gain("4", 30.0)), _chain(6, _gain("4", 2.0), _gain("8", 0.5)), _chain(4, initialization="torch-default")),
    domain={"kinds": ("dense", "relu", "leaky_relu"), "initializations": ("he-normal", "he-uniform"), "input_kinds": ("features",),
            "depth": (1, 8), "alternating": True, "values": ("normal", "integers", "ties", "one-hot"), "training": True},
)
