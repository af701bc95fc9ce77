"""In a network of rectifiers without biases every weight's product with its gradient sums to the same number, output times cotangent.

Conditions
----------
A plain chain of dense and convolutional layers without biases (or with zero ones), rectifiers, pools and reshapes.

Why it matters
--------------
The output is homogeneous of degree one in every weight matrix, so Euler's theorem ties the gradients of all layers to one number that
needs no derivative. A layer whose gradient has the wrong scale stands out without a finite difference. It is also why the ratio of first
to last weight gradient says nothing about vanishing gradients in such networks.

Measured
--------
<W, dL/dW> - <u, f> for every weight, over Σ|W·dL/dW| + Σ|u·f|, for a random cotangent u. The worst weight is the evidence.

Error
-----
64 units of roundoff of that scale (rounding of two sums; measured residuals over random networks are at most 3.6 units).

When violated
-------------
The gradient of the deepest weight named is wrong by a factor, and with it all before: look at its layer and the one behind it.

Limits
------
Only the component of the gradient along its own weight is seen. In float32 the identity is judged with float32's roundoff.

Sources
-------
Euler's theorem on homogeneous functions; Du, Hu and Lee 2018, Algorithmic regularization in learning deep homogeneous models,
arXiv:1806.00900, section 2.
"""

import numpy as np

from gradcheck_suite.captures.homogeneity import Homogeneity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.exhibits import Table
from gradcheck_suite.core.property import Property
from gradcheck_suite.numerics.rounding import resolution, tolerance


def nonzero(homogeneity: Homogeneity) -> str | None:
    """Some output is not zero."""
    return None if homogeneity.euler_scale.any() else "the output is zero"


def measure(homogeneity: Homogeneity) -> Evidence:
    seen = homogeneity
    weights = np.flatnonzero(seen.weights)
    residuals = np.abs(seen.euler - seen.contraction) / seen.euler_scale
    residual = residuals[weights]
    error = tolerance(seen.epsilon, 1.0, units=64.0)
    wrong = weights[residual > error]
    worst = int(wrong[-1]) if len(wrong) else int(weights[np.argmax(residual)])
    module, _, parameter = seen.rows.names[worst].rpartition(".")
    ratio = seen.euler[worst] / seen.contraction if seen.contraction else float("nan")
    note = f"{len(wrong)} of {len(weights)} weights; this one's product is {ratio:.4g} times what it must be" if len(wrong) else ""
    rows = tuple((seen.rows.names[i], float(seen.euler[i]), seen.contraction) for i in weights)
    return Evidence(
        quantity="relative residual of Euler's identity", value=float(residuals[worst]), error=error, low=0.0, high=0.0,
        resolution=2 * resolution(seen.epsilon), where=Where(module=module, parameter=parameter), note=note,
        exhibits=(Table(title="Euler's identity", columns=("weight", "weight times gradient", "output times cotangent"), rows=rows),),
        ruled_out=("rounding",) if len(wrong) else (),
    )


_LAYERS = (layer("dense", units=8, bias=False), layer("relu"), layer("dense", units=7, bias=False), layer("leaky_relu", slope=0.25))
_NET = Architecture(input_shape=(6,), layers=(*_LAYERS, layer("dense", units=3, bias=False)))
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("relu"), layer("max_pool"), layer("flatten"), layer("dense", units=3))
_CONVOLUTION = _NET.changed(input_shape=(2, 6, 6), layers=_IMAGE, initialization="he-normal")


def _planted(kind: str, module: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module, strength=strength),))


PROPERTY = Property(
    measure=measure,
    conditions=(nonzero,),
    symptoms=("wrong gradient", "gradient off by a factor", "detached branch"),
    holds_for=(_NET, _CONVOLUTION, _NET.changed(dtype="float32")),
    fails_for=(_planted("scaled-backward", "1", 1.01), _planted("parameter-hook", "2", 0.99), _planted("sign-flip", "3", 1.0)),
    domain={"kinds": ("dense", "relu", "leaky_relu", "conv2d", "max_pool", "flatten"), "initializations": ("he-normal", "glorot-uniform"),
            "values": ("normal", "integers", "ties"), "input_kinds": ("features", "image")},
)
