"""Where a training fails, the epsilon of its adaptive optimiser is not what divides most gradients.

Conditions
----------
The training fails, and the optimiser keeps a running mean of squared gradients and an epsilon (Adam, AdamW, RMSprop).

Why it matters
--------------
Adam divides by the root mean square of past gradients plus epsilon. Where gradients are smaller than epsilon (a loss averaged over
millions of entries, a loss in half precision, an epsilon of 0.1 copied from another paper) it no longer adapts, and steps shrink with the
gradient.

Measured
--------
Of the entries whose gradient is not zero, the share whose root mean square lies below epsilon after three steps: their step is less than
half of what an adaptive one would be.

Error
-----
None: entries are counted.

When violated
-------------
Lower epsilon, or scale the loss up; gradients should lie well above epsilon.

Limits
------
A candidate cause: small gradients may themselves be the symptom of something else.

Sources
-------
Kingma and Ba, Adam, ICLR 2015, section 2.1 (the step is bounded by the rate where epsilon is negligible); Wortsman et al., Small-scale
proxies for large-scale Transformer training instabilities, 2023, section 3.4 (epsilon too large for small gradients).
"""

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.captures.training import Training
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property


def failing(training: Training) -> str | None:
    """There is a failure to explain."""
    return training.nothing_to_explain()


def adaptive(first_steps: FirstSteps) -> str | None:
    """The optimiser has an epsilon, and some gradient is not zero."""
    if not (first_steps.damped >= 0).any():
        return "the optimiser has no running mean of squared gradients with an epsilon"
    return None if first_steps.steps and first_steps.moving[-1].any() else "all gradients are zero"


def measure(first_steps: FirstSteps) -> Evidence:
    known = first_steps.damped >= 0
    share = float(first_steps.damped[known].sum()) / float(max(1, first_steps.moving[-1][known].sum()))
    note = "" if share <= 0.5 else (
        f"updates are dominated by eps: {share:.0%} of the gradients lie below the epsilon of {first_steps.optimizer}; lower epsilon, or "
        "scale the loss up")
    return Evidence(quantity="share of gradients below the optimiser's epsilon", value=share, error=0.0, low=0.0, high=0.5, where=Where(),
                    note=note)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8,
                    optimizer="adam")
_FAINT = Defect(kind="scaled-loss", module="", strength=1e-12)

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    conditions=(failing, adaptive),
    symptoms=("updates dominated by eps", "updates too small", "loss too small for Adam"),
    remedies=("smaller-epsilon",),
    holds_for=(_NET.changed(learning_rate=1e-7),),
    fails_for=(_NET.changed(defects=(_FAINT,), learning_rate=1e-3),),
)
