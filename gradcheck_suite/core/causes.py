"""Which violations are causes and which their consequences: the order in which a reader should look at them.

A model that learns nothing violates many statements at once. What a person can act on is the first link of the chain, so
findings are put in this order: causes before what they explain, violated requirements before indicators that explain none, the more
specific before the more general, and one place of every property before the second place of any.

A backward pass that is not the derivative is the first of all causes: the other statements about gradients are theorems about
derivatives, so that none of them can be expected to hold then. ``folded`` puts them under it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import GENERATED, Finding

# Defects that stand for themselves: what they do follows by algebra, and nothing else explains them.
DEFECTS = (
    "backprop-agreement", "gradient-determinism", "leaf-registration", "optimizer-coverage", "gradient-clearing", "gradient-reach",
    "sample-independence",
    "causal-order", "target-pairing", "target-variety", "input-variety", "loss-boundedness", "descent-direction", "frozen-state",
    "operation-stability", "operation-stability-in-training", "operand-dtypes", "unit-distinctness", "live-layers",
)
# Conditions of the set-up that are tried or measured and may be the reason of a failure.
CANDIDATES = (
    "output-range", "regularization-strength", "gradient-persistence-in-depth", "gradient-boundedness-in-depth",
    "temporal-persistence", "temporal-boundedness", "attention-spread", "update-resolution", "epsilon-smallness", "input-scale",
    "input-scale-at-start", "learning-rate-stability", "learning-rate-sufficiency", "weight-consistency", "weight-variance",
    "target-scale", "slopes-off-the-flat", "unsaturated-fraction", "gradient-scale-across-depth", "gradient-scale-per-layer",
    "sharpness-within-stability", "initial-loss", "live-units-after-training", "weight-growth", "gradient-growth", "gradient-precision",
)
# What a reader sees first and can do least about.
SYMPTOMS = ("gradient-activity", "finite-gradients", "output-dependence", "convergent-training", "advantage-over-constant")

WRONG_GRADIENT = "backprop-agreement"
# Theorems about derivatives: a gradient that is none is reason enough that they fail.
IDENTITIES = (
    "adjoint-consistency", "backprop-agreement-across-configurations", "backward-contract", "batch-additivity", "batch-permutation",
    "euler-identity", "gradient-linearity", "gradient-power-of-two-scaling", "hessian-symmetry", "neuron-rescaling-symmetry",
    "outer-product-gradient", "pooling-isometry", "positive-homogeneity", "recomputation-equality", "second-order-agreement",
    "shipped-precision-agreement", "value-gradient-sum", "key-bias-gradient", "bias-before-batch-norm", "gradient-contraction",
    "cross-entropy-gradient", "softmax-jacobian", "tied-weight-gradient", "displacement-growth", "step-length",
    "radial-gradient", "weight-gain-invariance", "weight-gradient-orthogonality", "zero-gradient-sum", "identity-of-zero-branches",
)

_UNSTABLE = ("operation-stability", "operation-stability-in-training")
_SHRINKING = ("gradient-persistence-in-depth", "temporal-persistence")
_GROWING = ("gradient-boundedness-in-depth", "temporal-boundedness")

# consequence -> the properties whose violation explains it
EXPLAINED_BY: Mapping[str, frozenset[str]] = MappingProxyType({
    "advantage-over-constant": frozenset((*DEFECTS, *CANDIDATES, *SYMPTOMS[:-1])),
    "convergent-training": frozenset((*DEFECTS, *CANDIDATES, "gradient-activity", "finite-gradients", "output-dependence")),
    "output-dependence": frozenset((*DEFECTS, *_SHRINKING, "output-range", "input-scale", "learning-rate-stability",
                                    "regularization-strength", "slopes-off-the-flat", "weight-variance", "gradient-activity")),
    "gradient-activity": frozenset((*DEFECTS, *_SHRINKING, "output-range", "slopes-off-the-flat", "unsaturated-fraction")),
    "finite-gradients": frozenset((*_UNSTABLE, *_GROWING, "operand-dtypes")),
    "gradient-precision": frozenset((*_UNSTABLE, *_GROWING)),
    "live-units-after-training": frozenset((*_SHRINKING, *_GROWING, "live-layers", "input-scale", "learning-rate-stability",
                                            "unit-distinctness", "operation-stability")),
    "unsaturated-fraction": frozenset(("live-layers", "slopes-off-the-flat", "input-scale")),
    "slopes-off-the-flat": frozenset(("input-scale", "input-scale-at-start", "output-range")),
    "update-resolution": frozenset((*_SHRINKING, "unit-distinctness", "live-layers")),
    "epsilon-smallness": frozenset(_SHRINKING),
    "learning-rate-sufficiency": frozenset((*_SHRINKING, "update-resolution", "epsilon-smallness", "live-layers", "unit-distinctness")),
    "sharpness-within-stability": frozenset((*_GROWING, "input-scale", "learning-rate-stability")),
    "initial-loss": frozenset((*_GROWING, "input-scale", "input-scale-at-start", "weight-consistency", "weight-variance", "target-scale",
                               "output-range")),
    "gradient-scale-across-depth": frozenset((*_SHRINKING, *_GROWING)),
    "gradient-scale-per-layer": frozenset((*_SHRINKING, *_GROWING, "gradient-scale-across-depth")),
    "target-scale": frozenset((*_UNSTABLE, "learning-rate-sufficiency", "learning-rate-stability")),
    "input-scale": frozenset(_UNSTABLE),
    "input-scale-at-start": frozenset((*_UNSTABLE, "input-scale")),
    "learning-rate-stability": frozenset(_UNSTABLE),
    "weight-growth": frozenset((*_UNSTABLE, *_GROWING, "learning-rate-stability", "regularization-strength", "input-scale",
                                "loss-boundedness", "descent-direction")),
    "gradient-growth": frozenset((*_UNSTABLE, *_GROWING, *_SHRINKING, "learning-rate-stability", "input-scale", "loss-boundedness",
                                  "descent-direction", "output-range", "weight-growth", "live-units-after-training", "live-layers",
                                  "slopes-off-the-flat")),
    **{name: frozenset((WRONG_GRADIENT,)) for name in IDENTITIES},
})

_RANK = {name: index for index, name in enumerate((*DEFECTS, *IDENTITIES, *CANDIDATES, *SYMPTOMS))}


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings of any subjects, with the violated ones of each subject in order of causes; the others keep their order.

    Violated findings come first. The order is total and does not depend on the order given, but for findings alike in property,
    place and level.
    """
    given = tuple(findings)
    violated: dict[str, list[Finding]] = {}
    for finding in given:
        if finding.verdict is Verdict.VIOLATED:
            violated.setdefault(finding.subject, []).append(finding)
    ordered = [finding for subject in sorted(violated, key=lambda name: (_indicators_only(violated[name]), name))
               for finding in _ordered(violated[subject])]
    return (*ordered, *(finding for finding in given if finding.verdict is not Verdict.VIOLATED))


def folded(findings: Iterable[Finding]) -> tuple[tuple[Finding, tuple[Finding, ...]], ...]:
    """The findings in their order, each with those that it explains and that need not be told beside it.

    A violated ``backprop-agreement`` takes the other exact statements about gradients that the same subject violates; its further
    places stay findings of their own. The first error of a subject takes those that have the same reason: what cannot be run ends every
    statement about it in the same way. The networks of a search differ from one property to the next: nothing is folded there.
    """
    given = tuple(findings)
    causes: dict[tuple[str, ...], int] = {}
    for finding in given:
        if finding.subject != GENERATED and _takes(finding):
            causes.setdefault(_cause(finding), id(finding))
    under: dict[int, list[Finding]] = {cause: [] for cause in causes.values()}
    heads = []
    for finding in given:
        cause = causes.get(_cause(finding), id(finding))
        if cause == id(finding) or not (finding.verdict is Verdict.ERROR or finding.property in IDENTITIES):
            heads.append(finding)
        else:
            under[cause].append(finding)
    return tuple((finding, tuple(under.get(id(finding), ()))) for finding in heads)


def _takes(finding: Finding) -> bool:
    """Whether others may be told under this finding."""
    wrong = finding.verdict is Verdict.VIOLATED and finding.level is Level.REQUIREMENT and finding.property == WRONG_GRADIENT
    return wrong or (finding.verdict is Verdict.ERROR and bool(finding.reason))


def _cause(finding: Finding) -> tuple[str, ...]:
    """What findings that may be told together have in common."""
    return finding.subject, finding.verdict.value, finding.reason if finding.verdict is Verdict.ERROR else ""


@cache
def explains(cause: str, consequence: str) -> bool:
    """Whether the violation of one property explains that of another, directly or through others."""
    found = EXPLAINED_BY.get(consequence, frozenset())
    return cause in found or any(explains(cause, between) for between in found if between != consequence)


def _ordered(violated: list[Finding]) -> list[Finding]:
    names = {finding.property for finding in violated}
    required = {finding.property for finding in violated if finding.level is Level.REQUIREMENT}
    later: dict[str, int] = {}
    keys = {}
    for finding in sorted(violated, key=_place):
        name = finding.property
        nth = later[name] = later.get(name, -1) + 1
        indicator = finding.level is Level.INDICATOR
        idle = indicator and not any(explains(name, other) for other in required - {name})
        keys[id(finding)] = (min(nth, 1), idle, _distance(name, names), indicator, _rank(finding), name, nth)
    return sorted(violated, key=lambda finding: keys[id(finding)])


def _rank(finding: Finding) -> float:
    """More specific is smaller; a property that the tables do not name ranks by its family."""
    exact = finding.family in ("correctness", "purity")
    return _RANK.get(finding.property, 0.5 if exact else len(DEFECTS))


def _place(finding: Finding) -> tuple[object, ...]:
    """The deeper a place is known the earlier: a function before a module, a module before the whole model."""
    where = finding.where
    return finding.level is Level.INDICATOR, not where.function, not where.module, where.module or "", where.parameter or "", finding.id


def _distance(name: str, violated: set[str]) -> int:
    """The longest chain of violated causes that leads to this property."""
    causes = EXPLAINED_BY.get(name, frozenset()) & violated - {name}
    return 1 + max(_distance(cause, violated) for cause in causes) if causes else 0


def _indicators_only(violated: list[Finding]) -> bool:
    return all(finding.level is Level.INDICATOR for finding in violated)
