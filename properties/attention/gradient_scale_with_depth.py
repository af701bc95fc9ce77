"""In a transformer encoder that normalises before each branch the gradient of the last layer shrinks like one over the root of the depth.

Conditions
----------
A declared architecture with equal encoder layers in a row, Glorot weights and a loss; it is built again with 2, 4, 8 and 16
of them.

Why it matters
--------------
With normalisation before the branches the residual stream grows with depth, and the last normalisation divides the gradient
by its root: deep encoders can be trained at full learning rate from the first step. With normalisation behind each sum the
gradient near the output does not shrink, and training needs a warm-up.

Measured
--------
The least-squares slope of the log of the Frobenius norm of the last layer's second feed-forward weight gradient over the log
of the depth, averaged over initialisations.

Error
-----
Three standard errors of the mean slope.

When violated
-------------
Put the normalisation in front of attention and feed-forward branch (``norm_first=True``) and one behind the last layer.

Limits
------
Theory says -1/2 and 0 for wide layers; the interval (-0.7, -0.25) holds the finite width. An indicator: both orders are
used. Other weights than Glorot's give other slopes at these depths.

Sources
-------
Xiong et al. 2020, On layer normalization in the transformer architecture, arXiv:2002.04745, theorem 1.
"""

import math

from gradcheck_suite.captures.encoder_depth_sweep import EncoderDepthSweep
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.exhibits import Curve, Series
from gradcheck_suite.core.property import Property


def measure(encoder_depth_sweep: EncoderDepthSweep) -> Evidence:
    seen = encoder_depth_sweep
    slope, error = seen.slope()
    if math.isnan(slope):
        raise NotApplicable("the gradient of the last layer is zero")
    depths = tuple(float(depth) for depth in seen.depths)
    means, spreads = seen.gradients.mean(0).tolist(), seen.gradients.std(0, ddof=1).tolist()
    curve = Curve(title="Gradient of the last feed-forward weight", x_label="encoder layers", y_label="log of its norm",
                  series=(Series(name=f"normalisation {seen.norm}", x=depths, y=tuple(means), error=tuple(spreads)),))
    return Evidence(
        quantity="slope of the log gradient over the log depth", value=slope, error=3 * error, low=-0.7, high=-0.25, resolution=0.3,
        where=Where(module=""), note=f"normalisation {seen.norm} branches", exhibits=(curve,), level=Level.INDICATOR,
    )


def _net(norm: str) -> Architecture:
    layers = (layer("encoder", heads=2, hidden=32, norm=norm), layer("layer_norm"), layer("dense", units=16))
    return Architecture(input_shape=(8, 32), layers=layers, initialization="glorot-normal", loss="cross-entropy")


PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("exploding gradient", "transformer needs warm-up", "post-norm transformer"),
    holds_for=(_net("pre"),),
    fails_for=(_net("post"),),
    domain=None,
)
