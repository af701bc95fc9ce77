"""The inputs are standardised: mean 0 and standard deviation 1, per column of a matrix and over all values of other tensors.

When it helps
-------------
The curvature of the loss grows with the square of the inputs, and saturating activations are driven into their flat ends by large ones:
standardised inputs allow one learning rate for all layers and the scale that initialisations are made for.

When it does not
----------------
What happens between the layers is decided by their weights and activations: a deep stack that vanishes does so on standardised inputs too.
Tokens and other integers have no scale.

Sources
-------
LeCun et al. 1998, Efficient BackProp, section 4.3.
"""

from dataclasses import replace

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies._batches import Standardised, mapped
from gradcheck_suite.subject import Batch, Setup


def normalized_inputs(setup: Setup) -> Setup:
    """See the file's docstring.

    Raises:
        NotApplicable: no floating input varies, or all are standardised.
    """
    standardised, batch = Standardised(), setup.batch
    args = tuple(mapped(value, standardised) for value in batch.args)
    kwargs = {name: mapped(value, standardised) for name, value in batch.kwargs.items()}
    if not standardised.count:
        raise NotApplicable("there are no floating inputs that vary")
    return replace(setup, batch=Batch(args, kwargs, batch.targets))
