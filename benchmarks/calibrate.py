"""Calibration: how often each stochastic property is wrong on true cases, and how often it finds what it should.

    python -m benchmarks.calibrate [--cases 3000] [--controls 200] [--only id ...] [--output docs/calibration.md]

A true case is a network for which the property's law holds, initialised afresh for every repetition. Properties whose interval
follows ``Budget.alpha`` are run at 0.01, a rate that can be measured. Properties that need two deviating halves, each at a fixed rate of
10⁻³, are read off their evidence at the level where a half deviates with probability 0.1, so that both do with probability 0.01.
Intervals are Clopper and Pearson's at 95 %.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import beta

from gradcheck_suite import catalogue
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.budget import BUDGETS, Budget
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.sources import LocalSource
from gradcheck_suite.numerics.convolution_moments import lognormal_limit

NOMINAL = 0.01
HALF = 1.645
"""The standard normal quantile that each half passes with probability 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A property, a network for which it is true, one for which it is not, and how a rejection is read off.

    ``draws`` is the number of initialisations in a repetition on the true case, ``share`` the part of the repetitions asked for
    that an expensive trial makes. ``threshold`` is compared with the evidence's value where the property itself works at a fixed
    level; ``None`` takes its verdict, at an alpha of ``NOMINAL``. ``nominal`` is the rate of false rejections that this should have
    at most; ``None`` says that the interval contains a margin of its own and has no nominal rate.
    """

    property: str
    true: Architecture
    false: Architecture
    draws: int = 4
    threshold: float | None = None
    nominal: float | None = NOMINAL
    share: float = 1.0


def chain(depth: int, width: int, kind: str, initialization: str, *defects: Defect, inputs: int = 0, batch: int = 1) -> Architecture:
    """A dense chain with one activation behind every layer but the last."""
    hidden = [item for _ in range(depth) for item in (layer("dense", units=width), layer(kind))]
    layers = (*hidden, layer("dense", units=4))
    return Architecture(input_shape=(inputs or width,), layers=layers, batch=batch, initialization=initialization, defects=defects)


def blocks(count: int, *defects: Defect, initialization: str = "he-normal") -> Architecture:
    """Residual blocks of width 12."""
    block = layer("residual", layer("dense", units=16), layer("relu"), layer("dense", units=12))
    return Architecture(input_shape=(12,), layers=(block,) * count, batch=1, initialization=initialization, defects=defects)


def images(initialization: str, groups: int = 1) -> Architecture:
    """Four zero-padded convolutions of eight channels."""
    block = (layer("conv2d", channels=8, padding=1, groups=groups), layer("relu"))
    return Architecture(input_shape=(8, 5, 5), layers=block * 4, batch=1, initialization=initialization)


def normalised(kind: str, depth: int, *defects: Defect) -> Architecture:
    """Plain blocks of width 64 with a normalisation before each ReLU."""
    unit = [item for _ in range(depth) for item in (layer("dense", units=64), layer(kind), layer("relu"))]
    return Architecture(input_shape=(64,), layers=(*unit, layer("dense", units=4)), batch=16, initialization="he-normal", defects=defects)


def gain(module: str, strength: float) -> Defect:
    """Weights of one module multiplied by a number."""
    return Defect(kind="gain", module=module, strength=strength)


SLOWED, LATE = Defect(kind="scaled-backward", module="15", strength=0.1), Defect(kind="scaled-backward", module="1", strength=0.3)
DEEP, LAYER = "gradient-scale-across-depth", "declared-weight-variance"
TRIALS = (
    Trial(property=DEEP, true=chain(5, 16, "relu", "he-normal"), false=chain(5, 16, "relu", "glorot-normal")),
    Trial(property=DEEP, true=chain(4, 3, "relu", "he-normal"), false=chain(4, 3, "relu", "torch-default")),
    Trial(property=DEEP, true=chain(5, 12, "relu", "he-uniform"), false=chain(5, 12, "relu", "torch-default")),
    Trial(property=DEEP, true=chain(4, 8, "leaky_relu", "he-normal"), false=chain(4, 8, "leaky_relu", "glorot-normal")),
    Trial(property="gradient-scale-per-layer", true=chain(4, 12, "relu", "he-normal"),
          false=chain(4, 12, "relu", "he-normal", gain("2", 3.0), gain("4", 1 / 3))),
    Trial(property=LAYER, true=chain(2, 12, "tanh", "glorot-normal"), false=chain(2, 12, "tanh", "glorot-normal", gain("2", 0.9))),
    Trial(property=LAYER, true=chain(2, 12, "relu", "torch-default"), false=chain(2, 12, "relu", "torch-default", gain("2", 0.8))),
    Trial(property="unsaturated-fraction", true=chain(4, 24, "relu", "he-normal", batch=4),
          false=chain(4, 24, "relu", "he-normal", Defect(kind="saturated", module="2"), batch=4)),
    Trial(property="gradient-law-of-activation", true=chain(4, 16, "tanh", "glorot-normal"), threshold=HALF, draws=8,
          false=chain(4, 16, "tanh", "glorot-normal", gain("2", 0.5))),
    Trial(property="gradient-law-of-activation", true=chain(4, 12, "gelu", "he-normal"), threshold=HALF, draws=8,
          false=chain(4, 12, "gelu", "he-normal", gain("0", 0.5))),
    Trial(property="gradient-growth-law", true=blocks(4), false=blocks(4, LATE), threshold=HALF, draws=8),
    Trial(property="gradient-floor", true=blocks(4), false=blocks(4, replace(LATE, strength=1e-3)), draws=16, share=1 / 3),
    Trial(property="gradient-scale-of-convolutions", true=images("he-normal"), false=images("he-normal-fan-out", 4), draws=16,
          threshold=lognormal_limit(8, 0.1), share=1 / 3),
    Trial(property="batch-norm-growth-rate", true=normalised("batch_norm", 11), false=normalised("batch_norm", 11, SLOWED),
          nominal=None, share=0.05),
    Trial(property="layer-norm-growth-rate", true=normalised("layer_norm", 8), false=normalised("layer_norm", 8, SLOWED),
          nominal=None, share=0.05),
)


@dataclass(frozen=True, slots=True)
class Count:
    """k of n repetitions."""

    hits: int
    of: int

    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval at 95 %."""
        low = 0.0 if self.hits == 0 else float(beta.ppf(0.025, self.hits, self.of - self.hits + 1))
        high = 1.0 if self.hits == self.of else float(beta.ppf(0.975, self.hits + 1, self.of - self.hits))
        return low, high

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.hits}/{self.of} ({low:.2g} to {high:.2g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured for a trial."""

    trial: Trial
    false_alarms: Count
    undecided: int
    power: Count


def calibrate(trial: Trial, cases: int, controls: int) -> Row:
    """Measure one trial."""
    standard = BUDGETS["standard"]
    small = replace(standard, draws=trial.draws, alpha=NOMINAL if trial.threshold is None else standard.alpha)
    true = list(_outcomes(trial, trial.true, small, max(1, round(cases * trial.share))))
    false = list(_outcomes(trial, trial.false, standard, max(1, round(controls * trial.share))))
    return Row(
        trial=trial, false_alarms=Count(sum(one.rejected for one in true), len(true)), undecided=sum(one.undecided for one in true),
        power=Count(sum(one.violated for one in false), len(false)),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One repetition: rejected at the trial's level, violated by the property's own verdict, or neither that nor holding."""

    rejected: bool
    violated: bool
    undecided: bool


def _outcomes(trial: Trial, architecture: Architecture, budget: Budget, repetitions: int) -> Iterator[Outcome]:
    prop = next(catalogue.load(entry) for entry in catalogue.entries() if entry.id == trial.property)
    one = subject(architecture)
    for index in range(repetitions):
        findings = check(prop, LocalSource(one, budget, derive(index, trial.property, repr(architecture))))
        verdicts = {finding.verdict for finding in findings}
        values = [finding.evidence.value for finding in findings if finding.evidence is not None]
        violated = Verdict.VIOLATED in verdicts
        rejected = violated if trial.threshold is None else any(value > trial.threshold for value in values)
        yield Outcome(rejected, violated, not verdicts & {Verdict.VIOLATED, Verdict.HOLDS})


def page(rows: Sequence[Row]) -> str:
    """The measurements as a page of Markdown."""
    head = (__doc__ or "").split("\n\n", 2)
    lines = [
        "# Calibration", "", " ".join(head[2].split()), "",
        f"Power is the share of repetitions in which the standard budget ({BUDGETS['standard'].draws} draws, alpha "
        f"{BUDGETS['standard'].alpha:g}) finds the planted error.", "",
        "| property | true case | draws | nominal | false alarms | undecided | planted error | power |", "|---" * 8 + "|",
    ]
    for row in rows:
        nominal = "margin" if row.trial.nominal is None else f"≤ {row.trial.nominal:g}"
        cells = (row.trial.property, told(row.trial.true), row.trial.draws, nominal, row.false_alarms, row.undecided, told(row.trial.false),
                 row.power)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def told(architecture: Architecture) -> str:
    """An architecture in a few words."""
    kinds = list(dict.fromkeys(inner.kind for _, inner in architecture.walk()))
    faults = ", ".join(f"{defect.kind} {defect.strength:.3g} in {defect.module}" for defect in architecture.defects)
    words = [f"{len(architecture.layers)} layers", "/".join(kinds), architecture.initialization, faults]
    return ", ".join(word for word in words if word)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--controls", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--output", type=Path, default=Path("docs/calibration.md"))
    given = parser.parse_args(arguments)
    rows = []
    for trial in TRIALS:
        if not given.only or trial.property in given.only:
            rows.append(calibrate(trial, given.cases, given.controls))
            print(f"{trial.property}: false alarms {rows[-1].false_alarms}, power {rows[-1].power}", flush=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
