"""The gradient of a shared parameter is the sum of the gradients of its uses.

Conditions
----------
A trained parameter is used by several modules (tied weights) or by several calls of one (a layer that is applied again and again). The
model runs in float64, and gives the same objective when every call is given a copy of the parameter.

Why it matters
--------------
Each use adds to the gradient. A backward pass that writes ``.grad`` instead of returning its part keeps the last use only; a hook on
the parameter that averages, clips or masks sees the sum, not the parts.

Measured
--------
||dL/dW - Σ gᵢ|| over || Σ |gᵢ| ||, where gᵢ is the gradient at the copy of W that the i-th call of an owner is given for its time, and
the gradient left at W itself, for uses outside of these calls.

Error
-----
64 units of roundoff of that scale, and two more for every use, for the sums are made in another order; measured residuals over 400 drawn
networks are at most 2 units.

When violated
-------------
Return the gradient from ``backward`` instead of storing it. Look for hooks on the parameter named (declare those you mean).

Limits
------
At most eight calls are given copies; the others share the original. A use that is cut from the graph sends nothing here or there:
``backprop-agreement`` sees it.

Sources
-------
Rumelhart, Hinton and Williams 1986, Learning internal representations by error propagation, section on recurrent nets (the weights of
copies are kept equal by adding up their changes); Griewank and Walther 2008, Evaluating derivatives, section 3.2.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.tied_weights import TiedWeights
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance


def measure(tied_weights: TiedWeights) -> Iterator[Evidence]:
    seen = tied_weights
    for place, path in enumerate(seen.paths):
        epsilon, uses, owners = float(seen.epsilon[place]), int(seen.uses[place]), int(seen.owners[place])
        yield Evidence(
            quantity="relative residual of the sum over the uses", value=float(seen.residual[place]), low=0.0, high=0.0,
            error=tolerance(epsilon, 1.0, units=64.0 + 2 * uses), resolution=2 * resolution(epsilon),
            where=Where(module=path, parameter=seen.names[place]), ruled_out=("rounding",),
            note=f"{uses} uses in {owners} module{'s' if owners > 1 else ''}; along their sum the gradient is "
                 f"{float(seen.ratio[place]):.6g} times what it must be",
        )


_BRANCH = (layer("dense", units=5), layer("tanh"))
_NET = Architecture(input_shape=(5,), layers=(layer("repeated", *_BRANCH, times=3), layer("dense", units=2)), loss="mse")
_ENCODERS = (layer("repeated", layer("encoder", heads=2, hidden=6), times=2), layer("repeated", layer("gru", units=4)))


def _planted(kind: str, module: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module, strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("wrong gradient", "tied weights", "shared layer", "overwritten gradient"),
    holds_for=(_NET, _NET.changed(input_shape=(5, 4), layers=_ENCODERS)),
    fails_for=(_planted("overwritten-gradient", "0.0", 1.0), _planted("parameter-hook", "0", 0.5),
               _planted("shifted-gradient", "0.0", 0.01)),
    domain={"kinds": ("repeated", "dense", "conv2d", "tanh", "relu", "layer_norm", "gru", "attention", "encoder", "dropout"),
            "values": ("normal",)},
)
