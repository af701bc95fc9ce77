"""The injection benchmark: a healthy architecture, a layer and a fault are drawn; what is found of it, and where, is counted.

    python -m benchmarks.injection [--draws 20] [--seed 0] [--json results.json] [--markdown results.md]

For every kind of fault: how often it is detected at all, how often one of the first two findings names the layer (exactly, or one
layer off), and how often one of them is among the properties that describe this fault. The same architectures without the fault are
audited too, and must not be accused. Where pytest-torch is installed, the same draws go through its training checks.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from gradcheck_suite import catalogue
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.architecture import Architecture, Defect, Layer, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.causes import ranked
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.core.finding import Finding
from gradcheck_suite.core.property import Property
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.sources import LocalSource

PROBES = frozenset(("first_steps", "training", "graph_leaves", "batch_composition", "target_pairing", "operation_watch", "unit_activity",
                    "depth_profile", "temporal_profile", "weight_law", "curvature", "precision_twin"))
LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class Injection:
    """A kind of fault.

    Attributes:
        kind: of the defect.
        strength: of the defect.
        hosts: kinds of layers that it can be planted in.
        named_by: properties that describe it.
        followed_by: the kind of activation behind the layer, where the fault needs one.
    """

    kind: str
    named_by: frozenset[str]
    hosts: frozenset[str] = frozenset(("dense",))
    strength: float = 1.0
    followed_by: frozenset[str] = frozenset()
    last: bool = True


_WEIGHTS = frozenset(("weight-consistency", "weight-variance"))
FAULTS = {
    "gain × 0.01": Injection("gain", _WEIGHTS | {"gradient-persistence-in-depth"}, strength=0.01, last=False),
    "gain × 30": Injection("gain", _WEIGHTS | {"gradient-boundedness-in-depth", "initial-loss"}, strength=30.0),
    "bias -10": Injection("saturated", frozenset(("live-layers", "slopes-off-the-flat", "gradient-activity")), last=False,
                          followed_by=frozenset(("relu", "sigmoid", "tanh"))),
    "constant weights": Injection("constant-weights", frozenset(("unit-distinctness",)), last=False),
    "detach": Injection("detached", frozenset(("gradient-reach",)), last=False),
    "zero": Injection("zero-init", frozenset(("live-layers", "gradient-activity", "unit-distinctness", "output-dependence")), last=False,
                      followed_by=frozenset(("relu",))),
    "wrong axis": Injection("wrong-axis", frozenset(("sample-independence",))),
    "missing scale": Injection("missing-scale", frozenset(("attention-spread",)), frozenset(("attention",)), strength=8.0),
}


@dataclass(slots=True)
class Score:
    """Counts over the draws of one kind of fault."""

    draws: int = 0
    detected: int = 0
    exact: int = 0
    near: int = 0
    named: int = 0
    peer: int = 0
    missed: list[str] = field(default_factory=list)


@st.composite
def healthy(draw: st.DrawFn, attention: bool = False) -> Architecture:
    """A network that trains: an initialisation that fits its activation, Adam or gradient descent at an ordinary rate."""
    activation, initialization = draw(st.sampled_from((
        ("relu", "he-normal"), ("relu", "he-uniform"), ("tanh", "glorot-normal"), ("tanh", "orthogonal"), ("sigmoid", "glorot-uniform"))))
    depth = draw(st.integers(2, 2 if activation == "sigmoid" else 4))
    width = 8 * draw(st.integers(3, 6))
    body = [item for _ in range(depth) for item in (layer("dense", units=width), layer(activation))]
    classes = draw(st.booleans())
    if attention:
        shape: tuple[int, ...] = (12, 16)
        layers = (layer("attention", heads=draw(st.sampled_from((1, 2)))), layer("mean_over_time"), *body, layer("dense", units=4))
    else:
        shape = (8 * draw(st.integers(2, 3)),)
        layers = (*body, layer("dense", units=4))
    return Architecture(input_shape=shape, layers=layers, batch=24, initialization=initialization, dtype="float32", optimizer="adam",
                        loss="cross-entropy" if classes else "mse", learning_rate=0.01)


def injected(name: str) -> st.SearchStrategy[Architecture]:
    """Healthy architectures with this fault planted in one of the layers that can host it."""
    fault = FAULTS[name]

    def planted(pair: tuple[Architecture, int]) -> Architecture:
        architecture, choice = pair
        places = _places(fault, architecture.layers)
        module = places[choice % len(places)]
        return architecture.changed(defects=(Defect(kind=fault.kind, module=module, strength=fault.strength),))

    fitting = healthy(attention="attention" in fault.hosts).filter(lambda made: bool(_places(fault, made.layers)))
    return st.tuples(fitting, st.integers(0, 7)).map(planted)


def _places(fault: Injection, layers: Sequence[Layer]) -> list[str]:
    found = []
    for index, one in enumerate(layers):
        behind = layers[index + 1].kind if index + 1 < len(layers) else ""
        fits = one.kind in fault.hosts and (not fault.followed_by or behind in fault.followed_by)
        if fits and (fault.last or index + 1 < len(layers)):
            found.append(str(index))
    return found


def draws(strategy: st.SearchStrategy[Architecture], count: int, number: int) -> list[Architecture]:
    """That many architectures, the same for the same number."""
    found: list[Architecture] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(architecture: Architecture) -> None:
        found.append(architecture)

    collect()
    return found[:count]


def diagnosis() -> tuple[Property, ...]:
    """The properties of the catalogue that diagnose a set-up."""
    loaded = (catalogue.load(entry) for entry in catalogue.entries())
    return tuple(prop for prop in loaded if prop.probes and set(prop.probes) <= PROBES)


def violations(architecture: Architecture, properties: Iterable[Property], budget: str, number: int = 0) -> tuple[Finding, ...]:
    """What is found against an architecture, causes first."""
    source = LocalSource(subject(architecture), BUDGETS[budget], number)
    found = ranked(finding for prop in properties for finding in check(prop, source))
    return tuple(finding for finding in found if finding.verdict is Verdict.VIOLATED)


def score(name: str, architectures: Iterable[Architecture], properties: Sequence[Property], budget: str = "standard") -> Score:
    """What is found of one kind of fault."""
    counts, fault = Score(), FAULTS[name]
    for architecture in architectures:
        found = violations(architecture, properties, budget)
        first = found[:LOOKED_AT]
        wanted = int(architecture.defects[0].module)
        distances = [abs(int(module) - wanted) for finding in first if (module := finding.where.module or "").isdigit()]
        counts.draws += 1
        counts.detected += bool(found)
        counts.exact += 0 in distances
        counts.near += any(distance <= 1 for distance in distances)
        counts.named += any(finding.property in fault.named_by for finding in first)
        counts.peer += bool(peer(architecture))
        if not found:
            counts.missed.append(repr(architecture))
    return counts


def accused(architectures: Iterable[Architecture], properties: Sequence[Property], budget: str = "standard") -> tuple[int, int, int, int]:
    """Of healthy architectures: how many there are, how many fail, how many are warned of, how many the peer fails."""
    total = failed = warned = by_peer = 0
    for architecture in architectures:
        levels = {finding.level for finding in violations(architecture, properties, budget)}
        total += 1
        failed += Level.REQUIREMENT in levels
        warned += Level.INDICATOR in levels
        by_peer += bool(peer(architecture))
    return total, failed, warned, by_peer


def peer(architecture: Architecture) -> bool | None:
    """Whether pytest-torch's training checks fail; ``None`` where it is not installed."""
    if importlib.util.find_spec("pytest_torch") is None:
        return None
    training: Any = importlib.import_module("pytest_torch.training")
    setup = subject(architecture).setup(0)
    loss = setup.loss
    assert loss is not None

    def of_output(output: Any) -> Any:
        return loss(output, setup.batch.targets)

    (inputs,) = setup.batch.args
    try:
        training.assert_gradients_finite(setup.model, inputs, of_output)
        training.assert_all_params_receive_grad(setup.model, inputs, of_output)
        training.assert_overfits_one_batch(setup.model, inputs, of_output, optimizer=setup.optimizer)
    except AssertionError:
        return True
    return False


def smallest(name: str, properties: Sequence[Property], budget: str = "quick") -> Architecture:
    """The smallest architecture, as Hypothesis shrinks it, on which a property that describes the fault is violated."""
    def described(architecture: Architecture) -> bool:
        return any(finding.property in FAULTS[name].named_by for finding in violations(architecture, properties, budget))

    return find(injected(name), described,
                settings=settings(max_examples=30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)))


def rows(count: int, number: int) -> Iterator[tuple[str, Score]]:
    """The score of every kind of fault."""
    properties = diagnosis()
    for name in FAULTS:
        yield name, score(name, draws(injected(name), count, number), properties)


def page(table: Mapping[str, Mapping[str, Any]], number: int) -> str:
    """The results as Markdown."""
    healthy = table["healthy"]
    installed = healthy["peer"] is not None
    peer_head, peer_line = (" pytest-torch |", "---|") if installed else ("", "")
    lines = [
        "# Planted faults: what is found, and where", "",
        f"`python -m benchmarks.injection --seed {number}`: a healthy network, a layer and a fault are drawn; float32, standard "
        "budget. Found: some statement is violated. Exact and ±1: one of the first two findings names the layer, or one next to it. Named: "
        "one of them is among the statements that describe this fault."
        + (" pytest-torch: its checks for finite gradients, gradients at every parameter and overfitting one batch, on these draws, fail."
           if installed else ""), "",
        f"| fault | draws | found | exact | ±1 | named |{peer_head}", f"|---|---|---|---|---|---|{peer_line}",
    ]
    for name, row in table.items():
        if name != "healthy":
            shares = [row[key] for key in ("found", "exact", "near", "named", *(["peer"] if installed else []))]
            lines.append(f"| {name} | {row['draws']} | " + " | ".join(f"{share / row['draws']:.0%}" for share in shares) + " |")
    peers = f"; pytest-torch fails {healthy['peer']}" if installed else ""
    lines += ["", f"Of {healthy['draws']} healthy networks {healthy['failed']} fail and {healthy['warned']} are warned of{peers}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    total, failed, warned, by_peer = accused(draws(healthy(), options.draws, options.seed), diagnosis())
    installed = importlib.util.find_spec("pytest_torch") is not None
    print(f"{'fault':18s} {'draws':>5s} {'found':>6s} {'exact':>6s} {'±1':>6s} {'named':>6s}" + ("  pytest-torch" if installed else ""))
    table: dict[str, dict[str, Any]] = {}
    for name, counts in rows(options.draws, options.seed):
        shares = [counts.detected, counts.exact, counts.near, counts.named]
        print(f"{name:18s} {counts.draws:5d} " + " ".join(f"{share / counts.draws:6.0%}" for share in shares)
              + (f"  {counts.peer / counts.draws:6.0%}" if installed else ""), flush=True)
        table[name] = {"draws": counts.draws, "found": counts.detected, "exact": counts.exact, "near": counts.near, "named": counts.named,
                       "peer": counts.peer if installed else None, "missed": counts.missed}
    print(f"healthy: {failed} of {total} failed, {warned} warned" + (f", pytest-torch fails {by_peer}" if installed else ""))
    table["healthy"] = {"draws": total, "failed": failed, "warned": warned, "peer": by_peer if installed else None}
    if options.json:
        options.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(page(table, options.seed), encoding="utf-8")


if __name__ == "__main__":
    main()
