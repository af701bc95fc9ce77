"""``search``: Hypothesis draws architectures from a property's domain and looks for the smallest one that violates it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import GradcheckError
from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.core.exhibits import SMALLEST_NETWORK, Code, Exhibit, Table
from gradcheck_suite.core.finding import GENERATED, Finding
from gradcheck_suite.core.property import Property
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.engine.check import fold, measured, of_evidence
from gradcheck_suite.engine.reach import Reaches

SUBJECT = GENERATED


class Falsified(AssertionError):
    """Raised inside a search so that Hypothesis shrinks. All violations of a property count as the same failure."""


@dataclass(slots=True)
class Tally:
    """What a search saw.

    Attributes:
        examples: networks drawn, before any shrinking.
        stochastic: whether the statement may be found violated by chance.
        reaches: what would have been found in the networks for which the statement held.
        violation: the last one raised: after shrinking, the smallest.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: int = 0
    violation: tuple[Architecture, Finding] | None = None
    shown: Finding | None = None
    depth: int = 0
    failure: Finding | None = None
    stochastic: bool = False
    reaches: Reaches = field(default_factory=Reaches)


def search(prop: Property, budget: Budget, seed: int, defects: tuple[str, ...] = (),
           tick: Callable[[], None] | None = None, tally: Tally | None = None) -> tuple[Finding, ...]:
    """The smallest architecture that violates the property, or how many were drawn without finding one.

    Args:
        prop: the property; its ``domain`` restricts what is drawn.
        budget: its ``examples`` is the number of architectures drawn.
        seed: of the draws; each architecture's own seed is a hash of the architecture and this.
        defects: kinds of faults to plant in every drawn architecture (to see the search find them).
        tick: called before every architecture, those tried in shrinking among them, for progress.
        tally: filled with what the search saw, for ``account``.
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, Verbosity

    from gradcheck_suite.architectures.strategies import architectures

    domain: dict[str, Any] = dict(prop.domain or {})
    if defects:
        domain["defects"] = defects
    tally = tally or Tally()
    tally.stochastic = prop.stochastic

    @hypothesis.seed(derive(seed, prop.name))
    @hypothesis.settings(
        max_examples=budget.examples, database=None, deadline=None, derandomize=False, verbosity=Verbosity.quiet, print_blob=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=tuple(HealthCheck), report_multiple_bugs=False,
    )
    @hypothesis.given(architecture=architectures(**domain))
    def falsify(architecture: Architecture) -> None:
        if tick is not None:
            tick()
        examine(prop, architecture, budget, seed, tally)

    with suppress(Falsified):
        falsify()
    return (conclusion(prop, tally, seed, budget),)


def examine(prop: Property, architecture: Architecture, budget: Budget, seed: int, tally: Tally) -> None:
    """Check one architecture.

    Raises:
        Falsified: it violates the property.
    """
    from gradcheck_suite.architectures.subjects import subject
    from gradcheck_suite.engine.sources import LocalSource

    source = LocalSource(subject(architecture), budget, derive(seed, repr(architecture)))
    found = measured(prop, source)
    findings = (found,) if isinstance(found, Finding) else fold(prop, source.facts.name, found)
    if tally.violation is None:
        _count(tally, architecture, findings)
        if not isinstance(found, Finding):
            tally.reaches.add(piece for piece in found if piece.verdict is Verdict.HOLDS)
    for finding in findings:
        if finding.verdict is Verdict.VIOLATED:
            tally.violation = (architecture, finding)
            raise Falsified(prop.name)


def _count(tally: Tally, architecture: Architecture, findings: tuple[Finding, ...]) -> None:
    tally.examples += 1
    tally.kinds.update({layer.kind for _, layer in architecture.walk()})
    for finding in findings:
        tally.verdicts[finding.verdict] += 1
        if finding.reason:
            tally.reasons[finding.reason] += 1
        if finding.verdict is Verdict.ERROR:
            tally.failure = finding
        if finding.verdict is Verdict.HOLDS and architecture.depth > tally.depth:
            tally.shown, tally.depth = finding, architecture.depth


def conclusion(prop: Property, tally: Tally, seed: int, budget: Budget) -> Finding:
    """The finding that a search makes."""
    if tally.violation is not None:
        return _falsified(prop, *tally.violation, seed, tally.examples)
    if tally.failure is not None:
        return replace(tally.failure, subject=SUBJECT)
    judged = tally.verdicts[Verdict.HOLDS]
    if not judged:
        reason = tally.reasons.most_common(1)
        undecided = tally.verdicts[Verdict.INCONCLUSIVE]
        why = reason[0][0] if reason else f"{undecided} of {tally.examples} drawn architectures were inconclusive, none was decided"
        verdict = Verdict.INCONCLUSIVE if undecided else Verdict.NOT_APPLICABLE
        blank = of_evidence(prop, SUBJECT, _nothing())
        return replace(blank, verdict=verdict, evidence=None, reason=why, message=f"{prop.id}: {verdict}: {why}")
    return _survived(prop, tally, budget)


def account(tallies: Sequence[Tally], budget: Budget) -> str:
    """The error budget of a whole run: the union bound over the stochastic statements and the networks drawn for each."""
    chances = [tally.examples for tally in tallies if tally.stochastic]
    drawn, risky = sum(tally.examples for tally in tallies), sum(chances)
    chance = (f"{len(chances)} of them stochastic, on {risky} networks: false alarms in the whole run at most "
              f"{risky * budget.alpha:.1e} (union bound, {budget.alpha:.1e} each); the bounds of the others are"
              ) if chances else "none of them stochastic: their bounds are"
    return f"Error budget: {drawn} networks for {len(tallies)} statements; {chance} on rounding and truncation, not on chance."


def unsearched(prop: Property) -> Finding:
    """The finding of a property that no search can look at."""
    blank = of_evidence(prop, SUBJECT, _nothing())
    why = "not searched: a statement about a set-up or a model of one's own; audit one"
    return replace(blank, verdict=Verdict.NOT_APPLICABLE, evidence=None, reason=why, message=f"{prop.id}: not-applicable: {why}")


def layers_of(architecture: Architecture) -> str:
    """An architecture as a short list: its input, a line for every layer with its module path, and what is not usual about it."""
    tokens = f" of {architecture.vocabulary} tokens" if architecture.vocabulary else ""
    lines = [f"{'input':<7}{' × '.join(map(str, (architecture.batch, *architecture.input_shape)))}{tokens}"]
    for path, inner in architecture.walk():
        lines.append(f"{path:<7}{inner if not inner.layers else inner.kind}")
    usual = {field.name: field.default for field in fields(Architecture)}
    named = {name: getattr(architecture, name) for name in ("initialization", "values", "loss", "optimizer", "dtype", "training")}
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in named.items() if value != usual[name]]
    lines += [f"planted in {defect.module}: {defect.kind} (strength {defect.strength:g})" for defect in architecture.defects]
    return "\n".join(lines)


def _nothing() -> Evidence:
    return Evidence(quantity="architectures that violate the statement", value=0.0, error=0.0, low=0.0, high=0.0)


def _survived(prop: Property, tally: Tally, budget: Budget) -> Finding:
    counts = ", ".join(f"{count} {verdict.value}" for verdict, count in tally.verdicts.items() if verdict is not Verdict.HOLDS)
    chance = (f"false alarms over the whole search: at most {tally.examples * budget.alpha:.1e} ({tally.examples} networks at "
              f"{budget.alpha:.1e} each)") if tally.stochastic else "its bounds are on rounding and truncation, not on chance"
    note = (f"Not falsified: it holds in {tally.verdicts[Verdict.HOLDS]} of {tally.examples} networks" + (f" ({counts})" if counts else "")
            + f"; {tally.reaches.sentence()}; {chance}")
    drawn = sorted(tally.kinds.items(), key=lambda item: (-item[1], item[0]))
    table = Table(title="Layers drawn", columns=("kind", "architectures"), rows=tuple(drawn))
    shown: tuple[Exhibit, ...] = tally.shown.evidence.exhibits if tally.shown is not None and tally.shown.evidence is not None else ()
    evidence = replace(_nothing(), note=note, exhibits=(*shown, tally.reaches.table(), table))
    return replace(of_evidence(prop, SUBJECT, evidence), places=tally.verdicts[Verdict.HOLDS])


def _falsified(prop: Property, architecture: Architecture, finding: Finding, seed: int, examples: int) -> Finding:
    own_seed = derive(seed, repr(architecture))
    try:
        script = Code(title="Script that reproduces it", text=architecture.to_python(own_seed, check=True), language="python")
    except GradcheckError as error:
        script = Code(title="The architecture (no script can be printed)", text=f"{architecture!r}\n{error}")
    exhibits = finding.evidence.exhibits if finding.evidence is not None else ()
    network = Code(title=SMALLEST_NETWORK, text=layers_of(architecture))
    evidence = replace(finding.evidence, exhibits=(network, *exhibits, script)) if finding.evidence is not None else None
    listed = " → ".join(map(repr, architecture.layers))
    message = f"{finding.message}. Smallest network found, after {examples} drawn: {listed}"
    return replace(finding, subject=SUBJECT, evidence=evidence, message=message)
