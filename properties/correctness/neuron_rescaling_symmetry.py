"""Multiplying a rectified neuron's incoming weights and dividing its outgoing ones changes no output, and gradients inversely.

Conditions
----------
A plain chain of dense or convolutional layers without biases (or with zero ones), rectifiers, pools and reshapes, in which two weight
matrices of one kind follow each other.

Why it matters
--------------
The symmetry is exact in every rectifier network, so gradients must obey it neuron by neuron: a backward pass whose mask depends on
magnitude, or that ignores or normalises what comes from above, breaks it.

Measured
--------
The number of bits in which outputs differ, and in which the gradients of weights (and of zero biases) differ from the inversely
rescaled ones, after every hidden neuron was rescaled by a random power of two between 1/8 and 8.

Error
-----
None: powers of two are exact in binary floating point.

When violated
-------------
Read the backward pass of the layers between the two matrices, and their forward pass where the output changes.

Limits
------
Errors that act on each neuron by a constant factor commute with the rescaling and pass: see ``euler-identity``.

Sources
-------
Neyshabur et al. 2015, Path-SGD, arXiv:1506.02617, section 2 (rescaling invariance); Dinh et al. 2017, Sharp minima can generalize for deep
nets, arXiv:1703.04933, section 3.
"""

import numpy as np

from gradcheck_suite.captures.homogeneity import Homogeneity
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def rescalable(homogeneity: Homogeneity) -> str | None:
    """Two matrices of one kind follow each other."""
    return None if homogeneity.rescaled else "no two matrices of one kind follow each other"


def measure(homogeneity: Homogeneity) -> Evidence:
    seen = homogeneity
    wrong = np.flatnonzero(seen.rescaled_bits > 0)
    total = int(seen.rescaled_bits.sum()) + seen.rescaled_output_bits
    where, note = Where(module=""), "the output changes" if seen.rescaled_output_bits else ""
    if len(wrong) and not seen.rescaled_output_bits:
        module, _, parameter = seen.rows.names[wrong[-1]].rpartition(".")
        where, note = Where(module=module, parameter=parameter), f"{len(wrong)} gradients do not scale inversely with their weights"
    return Evidence(quantity="bits that do not follow a rescaling of the neurons", value=float(total), error=0.0, low=0.0, high=0.0,
                    unit="bits", where=where, note=note, ruled_out=("rounding",) if total else ())


_LAYERS = (layer("dense", units=8, bias=False), layer("relu"), layer("dense", units=7, bias=False), layer("leaky_relu", slope=0.25))
_NET = Architecture(input_shape=(6,), layers=(*_LAYERS, layer("dense", units=3, bias=False)))
_IMAGE = (layer("conv2d", channels=4, padding=1), layer("relu"), layer("max_pool"), layer("conv2d", channels=3), layer("flatten"))
_CONVOLUTION = _NET.changed(input_shape=(2, 8, 8), layers=_IMAGE, initialization="he-normal")


def _planted(kind: str, module: str) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module=module),))


PROPERTY = Property(
    measure=measure,
    conditions=(rescalable,),
    symptoms=("wrong gradient", "ignored upstream gradient", "mask depends on magnitude"),
    holds_for=(_NET, _CONVOLUTION, _NET.changed(dtype="float32")),
    fails_for=(_planted("ignored-upstream", "1"), _planted("nondeterministic", "3")),
    domain={"kinds": ("dense", "relu", "leaky_relu"), "initializations": ("he-normal", "glorot-uniform"), "input_kinds": ("features",),
            "values": ("normal", "integers", "ties")},
)
