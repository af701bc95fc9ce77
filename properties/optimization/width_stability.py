"""In the first steps of training no output of a module grows with the width of the network.

Conditions
----------
The subject is made from a width (a factory with a parameter ``width``, or an architecture), has a loss and an optimiser, and can be made
at least four times as wide.

Why it matters
--------------
A learning rate that suits a narrow network makes a wide one diverge where a step changes the activations by an amount that grows with the
width. Then every width needs a search of its own; where no activation grows with the width, one learning rate serves all of them.

Measured
--------
The same set-up at 1, 2, 4 and 8 times its width, four initialisations each: the mean absolute entry of every module's output, before
the first step and after three. The slope of its logarithm against that of the width; of all modules the one that grows most surely.

Error
-----
The t interval of the slope, at a level of 0.1 %. In the limit of infinite width the exponents are multiples of one half (Yang and Hu
2021): the bound of a quarter tells none from one half.

When violated
-------------
Scale with the width: the learning rate of hidden layers under Adam by 1/width, the last layer's weights by 1/width, the attention's
logits by 1/head width (the maximal update parametrisation); or choose the learning rate anew for every width.

Limits
------
An indicator: at one width the set-up may be perfectly healthy. Standard initialisation with one learning rate for all layers is known to
grow with the width after some steps, the more the larger the learning rate.

Sources
-------
Yang and Hu, Tensor Programs IV: Feature learning in infinite-width neural networks, 2021; Yang et al., Tensor Programs V: Tuning large
neural networks via zero-shot hyperparameter transfer, 2022, appendix D.1 (coordinate checking).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.width_ladder import WidthLadder
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_MOST = 0.25


def laddered(width_ladder: WidthLadder) -> str | None:
    """At least three widths and a module that ran at all of them."""
    if len(width_ladder.times) < 3:
        return "fewer than three widths could be made"
    return None if width_ladder.steepest(0) is not None else "no module has an output that is finite and not zero at all widths"


def measure(width_ladder: WidthLadder) -> Iterator[Evidence]:
    for step in (0, width_ladder.steps):
        found = width_ladder.steepest(step)
        if found is None:
            continue
        module, slope, error = found
        when = "at initialisation" if step == 0 else f"after {step} steps"
        advice = "the rate that suits this width is too high for a wider one" if step else "scale the initialisation with the width"
        note = "" if slope - error <= _MOST else (
            f"grows with width: {when} the output of {width_ladder.modules[module] or 'the model'} goes as width^{slope:.2f}: {advice}")
        yield Evidence(quantity=f"exponent of an output's growth with the width {when}", value=slope, error=error, low=float("-inf"),
                       high=_MOST, where=Where(module=width_ladder.modules[module]), note=note, exhibits=(width_ladder.curve(module),))


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=32), layer("relu"), layer("dense", units=32), layer("relu"),
                                              layer("dense", units=3)), loss="mse", batch=16, learning_rate=1e-4)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(laddered,),
    symptoms=("activations grow with width", "learning rate does not transfer across widths"),
    remedies=("lower-learning-rate",),
    holds_for=(_NET, _NET.changed(optimizer="adam", learning_rate=1e-5)),
    fails_for=(_NET.changed(optimizer="adam", learning_rate=0.05), _NET.changed(optimizer="adamw", learning_rate=0.1)),
)
