"""What checking a gradient costs, in forward+backward passes of the same model: this tool against torch's gradcheck.

``python -m benchmarks.gradient_check`` prints the tables and writes ``benchmarks/results/gradient_check.md`` and ``.svg``.

One thread, float64, CPU time of this process. Every round times a stretch of forward+backward passes and then one of each checker, all
of them warm; figures are medians over rounds of the ratio within a round, so that a slow spell of the machine falls on both sides.
"""

import argparse
import gc
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.peers import Call, extrapolated, gradcheck, slow_sample
from benchmarks.workloads import MODELS, SMALL, Workload, mlp, workload
from gradcheck_suite.core.budget import budget
from gradcheck_suite.probes import probe
from gradcheck_suite.subject import Batch, Setup, Subject

TOOL, FAST, SLOW = "this tool", "gradcheck fast", "gradcheck slow"
HEAVY = 0.02  # seconds of one forward+backward above which peers are sampled less
ROUNDS, HEAVY_ROUNDS = 5, 5
STRETCH = 0.03  # CPU seconds over which something short is repeated
PEAKS = ("In a process that has run the forward pass once; of this tool 44 MiB are modules imported at the first check, and two copies "
         "of the weights guard the values of the caller's model.")
Check = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of checking one workload.

    Attributes:
        name: of the workload.
        parameters: trainable numbers.
        seconds: CPU seconds of one forward+backward, median.
        ratios: of each checker, CPU time over that of one forward+backward.
        extrapolated: the checkers whose ratio was extrapolated from two samples of the entries.
    """

    name: str
    parameters: int
    seconds: float
    ratios: dict[str, float]
    extrapolated: frozenset[str] = frozenset()

    def faster(self, peer: str) -> float:
        """How many times faster this tool is than the peer."""
        return self.ratios[peer] / self.ratios[TOOL]


def subject(work: Workload) -> Subject:
    """The workload as a subject: the same model object every time, as for a user's instance."""
    setup = Setup(work.model, Batch(work.inputs, {}, work.targets), work.loss)
    return Subject(work.name, lambda seed: setup, fresh=False)


def tool(work: Workload) -> Check:
    """This tool's check of the whole model, every module call included, without the configuration sweep."""
    check, size, of = probe("directional_derivative"), budget("quick"), subject(work)
    return lambda: check(of, size, 0)


def call(work: Workload) -> Call:
    """The workload as the peers take it."""
    return Call(work.model, work.inputs, {}, work.loss, work.targets)


def entries(work: Workload) -> int:
    """Numbers that gradcheck's slow mode moves one by one."""
    return work.parameters + sum(t.numel() for t in work.inputs if t.is_floating_point())


def seconds(check: Check) -> float:
    """CPU seconds of one run: the mean over a stretch of runs, the first of them left out where there are more.

    The collector runs as it does in use; ``settled`` has taken what was there before out of its way.
    """
    began = time.process_time()
    check()
    first = time.process_time() - began
    if first > STRETCH:
        return first
    count, began = 0, time.process_time()
    while (taken := time.process_time() - began) < STRETCH:
        check()
        count += 1
    return taken / count


def settled() -> None:
    """Collect, and let the collector leave alone what is there: a walk over torch's own objects takes longer than a small model's check."""
    gc.collect()
    gc.freeze()


def cost(work: Workload, *, slow: bool = True, fast: bool = True) -> Cost:
    """The cost of this tool and the peers on one workload."""
    work.forward_backward()
    settled()
    heavy = seconds(work.forward_backward) > HEAVY
    checks: dict[str, Check] = {TOOL: tool(work)}
    if fast:
        checks[FAST] = partial(gradcheck, call(work), fast=True)
    samples = (4, 12) if heavy else (30, 90)
    slow_checks = [slow_sample(call(work), n) for n in samples] if slow else []
    bases: list[float] = []
    slopes: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in checks}
    for turn in range(HEAVY_ROUNDS if heavy else 1 + ROUNDS):
        one = statistics.fmean(seconds(work.forward_backward) for _ in range(3 if heavy else 1))
        peers = not (heavy and turn)  # of a heavy model once: they take minutes
        times = {name: seconds(check) for name, check in checks.items() if name == TOOL or peers}
        sampled = [seconds(check) for check in slow_checks] if peers else []
        if turn or heavy:  # the first round of what is short warms up
            bases.append(one)
            for name, taken in times.items():
                ratios[name].append(taken / one)
            if sampled:
                slopes.append(extrapolated((samples[0], sampled[0]), (samples[1], sampled[1]), entries(work)) / one)
    found = {name: statistics.median(values) for name, values in ratios.items()}
    usable = [value for value in slopes if math.isfinite(value)]
    if usable:
        found[SLOW] = statistics.median(usable)
    return Cost(name=work.name, parameters=work.parameters, seconds=statistics.median(bases), ratios=found,
                extrapolated=frozenset([SLOW] if usable else []))


def growth() -> dict[str, list[Cost]]:
    """The cost as depth, width and batch of the multilayer perceptron grow."""
    axes = {
        "depth": [(n, partial(mlp, n)) for n in (8, 16, 32, 64)],
        "width": [(n, partial(mlp, 4, n)) for n in (16, 64, 256, 1024)],
        "batch": [(n, partial(mlp, 4, 64, n)) for n in (2, 32, 512, 4096)],
    }
    return {axis: [cost(workload(str(n), build), slow=False, fast=n < 1024 or axis == "depth") for n, build in points]
            for axis, points in axes.items()}


def peak(name: str, what: str) -> float:
    """MiB that one run adds to the peak of a fresh process that has loaded and run the workload's forward pass once."""
    command = [sys.executable, "-m", "benchmarks.gradient_check", "--peak", name, what]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measured_peak(name: str, what: str) -> float:
    """The same, in this process, which must be fresh."""
    work = workload(name)
    with torch.no_grad():
        work.forward()
    checks: dict[str, Check] = {"forward+backward": work.forward_backward, TOOL: tool(work)}
    before = high_water()
    checks[what]()
    return high_water() - before


def high_water() -> float:
    """Peak resident memory of this process, MiB; from Linux, because ``ru_maxrss`` begins at the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def figure(value: float, *, sampled: bool = False) -> str:
    """Three digits, with ``~`` where extrapolated."""
    text = f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")
    return f"~{text}" if sampled else text


def costs_table(costs: Sequence[Cost]) -> str:
    """Markdown: one row per workload, ratios to forward+backward."""
    lines = ["| | parameters | fb, ms | this tool | gradcheck fast | gradcheck slow | faster than fast | faster than slow |",
             "|---|---|---|---|---|---|---|---|"]
    for c in costs:
        cells = [figure(c.ratios[name], sampled=name in c.extrapolated) if name in c.ratios else "–" for name in (TOOL, FAST, SLOW)]
        gains = [figure(c.faster(name), sampled=name in c.extrapolated) if name in c.ratios else "–" for name in (FAST, SLOW)]
        lines.append(f"| {c.name} | {c.parameters} | {1e3 * c.seconds:.2f} | " + " | ".join(cells + gains) + " |")
    return "\n".join(lines)


def growth_table(axis: str, costs: Sequence[Cost]) -> str:
    """Markdown: one column per size."""
    rows = ["| " + axis + " | " + " | ".join(c.name for c in costs) + " |", "|---|" + "---|" * len(costs)]
    rows.append("| fb, ms | " + " | ".join(f"{1e3 * c.seconds:.2f}" for c in costs) + " |")
    for name in (TOOL, FAST):
        rows.append(f"| {name} | " + " | ".join(figure(c.ratios[name]) if name in c.ratios else "–" for c in costs) + " |")
    return "\n".join(rows)


def peak_table(names: Sequence[str]) -> str:
    """Markdown: MiB above the loaded model, and in multiples of the weights."""
    what = ("forward+backward", TOOL)
    rows = ["| | weights, MiB | " + " | ".join(what) + " |", "|---|---|" + "---|" * len(what)]
    for name in names:
        weights = workload(name).parameters * 8 / 2**20
        cells = (f"{found:.0f} ({found / weights:.1f} x)" for found in (peak(name, one) for one in what))
        rows.append(f"| {name} | {weights:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def summary(costs: Sequence[Cost]) -> str:
    """The medians and extremes that the goals speak of."""
    small = [c.ratios[TOOL] for c in costs if c.name in SMALL]
    parts = [f"This tool, median over the small models: {statistics.median(small):.3g} fb."] if small else []
    for name in (FAST, SLOW):
        gains = [c.faster(name) for c in costs if name in c.ratios]
        if gains:
            parts.append(f"Faster than {name}: median {figure(statistics.median(gains))} times, least {figure(min(gains))} times.")
    return " ".join(parts)


def chart(costs: Sequence[Cost], grown: dict[str, list[Cost]], path: Path) -> None:
    """Two panels, logarithmic: cost by workload and checker; cost as the network grows."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "gradient_check", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    colours = {TOOL: "#0072b2", FAST: "#e69f00", SLOW: "#999999"}
    drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for offset, name in enumerate(colours):
        points = [(i + 0.27 * (offset - 1), c.ratios[name]) for i, c in enumerate(costs) if name in c.ratios]
        left.bar([x for x, _ in points], [y for _, y in points], 0.27, label=name, color=colours[name])
    left.set_xticks(range(len(costs)), [c.name for c in costs], rotation=35, ha="right")
    left.set(yscale="log", ylabel="forward+backward passes", title="Cost of checking one model")
    left.legend(frameon=False)
    for axis, marker in zip(grown, "osd", strict=False):
        first = grown[axis][0]
        for name in (TOOL, FAST):
            shown = [c for c in grown[axis] if name in c.ratios]
            right.plot([int(c.name) / int(first.name) for c in shown], [c.ratios[name] for c in shown], marker=marker,
                       color=colours[name], label=f"{name}, {axis}")
    right.set(xscale="log", yscale="log", xlabel="size over the smallest", title="Growth with depth, width and batch")
    right.legend(frameon=False, fontsize="small")
    drawn.savefig(path, metadata={"Date": None})


def document(costs: Sequence[Cost], grown: dict[str, list[Cost]], peaks: str) -> str:
    """The page."""
    parts = [
        "# What checking a gradient costs",
        f"In forward+backward passes of the same model (fb), float64, one thread, CPU time, torch {torch.__version__}. "
        "~ is extrapolated from two samples of the entries that gradcheck's slow mode moves one by one. The configuration sweep is off.",
        costs_table(costs), summary(costs), "## Growth", *[growth_table(axis, found) for axis, found in grown.items()],
        "## Peak memory above the loaded model", PEAKS if peaks else "", peaks, "![cost](gradient_check.svg)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient_check", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*MODELS], default=[*MODELS], help="workloads to time")
    parser.add_argument("--no-growth", action="store_true", help="leave out growth with depth, width and batch")
    parser.add_argument("--no-peak", action="store_true", help="leave out peak memory")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    parser.add_argument("--peak", nargs=2, metavar=("WORKLOAD", "WHAT"), help="print the peak of one run in this process, MiB")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.peak:
        print(measured_peak(*options.peak))
        return 0
    costs = [cost(workload(name)) for name in options.only]
    grown = {} if options.no_growth else growth()
    peaks = "" if options.no_peak else peak_table([name for name in ("resnet18", "gpt 10M") if name in options.only])
    page = document(costs, grown, peaks)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "gradient_check.md").write_text(page, encoding="utf-8")
    chart(costs, grown, options.output / "gradient_check.svg")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
