"""How many wrong gradients are found, where they are placed, and how many right ones are accused: this tool and torch's gradcheck.

``python -m tests.quality.score`` measures and writes ``benchmarks/results/quality.md``.
"""

import argparse
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch

from gradcheck_suite import api
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.targets import subject_of

from .corpus import CASES, CONTROLS, Case
from .corpus.verify import made
from .outcomes import Entry, Judge, Kept, Outcome

ROWS = ("at the given input", "at its trigger", "configuration", "input", "second order", "precision")
FAMILIES = ("correctness",)
_PATHS = re.compile(r"(/[^/\s:]+)+/")


def entries(cases: Iterable[Case] = CASES) -> list[Entry]:
    """Every case at its given input and, where it has one, at its witness, each with its twin; and every control."""
    found = []
    for case in cases:
        variants = [(case, case.needs or ROWS[0])]
        if case.witness is not None and case.inputs_need_gradient:
            variants.append((case.at_witness(), ROWS[1]))
        for one, row in variants:
            narrow = one.needs != "precision"
            found.append(Entry(id=one.id, kind="bug", row=row, build=one.bug, case=one, exact=narrow))
            found.append(Entry(id=f"{one.id}/twin", kind="twin", row="twins", build=one.twin, case=one, exact=narrow))
    return found + [Entry(id=c.id, kind="control", row=c.kind, build=c.build, exact=c.float64) for c in CONTROLS]


def judged(entry: Entry, seed: int, *, budget: str = "standard") -> Outcome:
    """This tool's answer: the violated requirements of the correctness family."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = api.audit(subject_of(entry.build, name=entry.id), select=FAMILIES, isolation="none", budget=budget, seed=seed)
    accusing = [f for f in report.failures() if f.verdict is Verdict.VIOLATED]
    errors = [f"{f.property}: {f.reason.splitlines()[0]}" for f in report.findings if f.verdict is Verdict.ERROR]
    return Outcome(entry=entry, seed=seed, accused=bool(accusing), places=tuple(f.where for f in accusing),
                   accusers=tuple(f.property for f in accusing), error="; ".join(errors), seconds=time.process_time() - began)


def peer(entry: Entry, seed: int, *, fast: bool) -> Outcome:
    """The answer of torch's gradcheck; of gradgradcheck too where only the second derivative is wrong."""
    from benchmarks.peers import Call, gradcheck

    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = made(entry.build, seed)
        inputs = found["inputs"]
        args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, found.get("kwargs", {}))
        call = Call(found["model"], args, kwargs, found.get("loss"), found.get("targets"))
        answers = [gradcheck(call, seed, fast=fast)]
        if entry.case is not None and entry.case.needs == "second order":
            answers.append(gradcheck(call, seed, fast=fast, second=True))
    return Outcome(entry=entry, seed=seed, accused="wrong" in answers, error="raised" if "raised" in answers else "",
                   seconds=time.process_time() - began)


def measure(judge: Judge, models: Sequence[Entry], seeds: Sequence[int], kept: Kept | None = None) -> list[Outcome]:
    """The outcomes of every model from every seed, in part kept from a run before; a judge that raises has accused nobody."""
    outcomes = []
    for entry in models:
        for seed in seeds:
            outcome = kept.outcome(entry, seed) if kept else None
            if outcome is None:
                try:
                    outcome = judge(entry, seed)
                except Exception as error:  # a judge must not stop the measurement
                    outcome = Outcome(entry=entry, seed=seed, accused=False, error=f"{type(error).__name__}: {error}")
                if kept:
                    kept.add(outcome)
            outcomes.append(outcome)
            mark = "!" if outcome.error else "x" if outcome.accused == (entry.kind != "bug") else "."
            print(mark, end="", file=sys.stderr, flush=True)
    return outcomes


def share(outcomes: Iterable[Outcome], what: Callable[[Outcome], bool]) -> str:
    """``n of m``; a dash where there is nothing."""
    flags = [what(outcome) for outcome in outcomes]
    return f"{sum(flags)} of {len(flags)}" if flags else "–"


def rows(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The column of one judge: found by class, place, right models accused, failures."""
    bugs = [o for o in outcomes if o.entry.kind == "bug"]
    found = [o for o in bugs if o.accused]
    suspects = {(o.entry.id, o.seed) for o in outcomes if o.entry.kind == "twin" and o.accused}
    right = [o for o in outcomes if o.entry.kind != "bug"]
    cells = {f"found, {row}": share([o for o in bugs if o.entry.row == row], lambda o: o.accused) for row in ROWS}
    cells |= {
        "found, all": share(bugs, lambda o: o.accused),
        "found, all, the twin not accused": share(bugs, lambda o: o.accused and (f"{o.entry.id}/twin", o.seed) not in suspects),
        "module named": share(found, lambda o: o.named),
        "module exact": share(found, lambda o: o.placed),
        "function named": share([o for o in found if o.entry.case and o.entry.case.function], lambda o: o.function),
        "accused, twins": share([o for o in right if o.entry.kind == "twin"], lambda o: o.accused),
        "accused, smooth controls": share([o for o in right if o.entry.row == "smooth"], lambda o: o.accused),
        "accused, controls at kinks": share([o for o in right if o.entry.row == "kink"], lambda o: o.accused),
        "accused, declared mismatches": share([o for o in right if o.entry.row == "declared"], lambda o: o.accused),
        "accused, all correct float64 models": share([o for o in right if o.entry.exact], lambda o: o.accused),
        "could not be run": share(outcomes, lambda o: bool(o.error)),
    }
    seconds = sorted(o.seconds for o in outcomes)
    return cells | {"CPU seconds, median": f"{seconds[len(seconds) // 2]:.2f}" if seconds else "–"}


def triggers(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Found by what triggers the error, at the given input or at the trigger."""
    bugs = [o for o in outcomes if o.entry.kind == "bug" and o.entry.row in ROWS[:2] and o.entry.case]
    names = dict.fromkeys(o.entry.case.trigger for o in bugs if o.entry.case)
    return {name: share([o for o in bugs if o.entry.case and o.entry.case.trigger == name], lambda o: o.accused) for name in names}


def table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown: one row per measure, one column per judge."""
    names = list(dict.fromkeys(row for column in columns.values() for row in column))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    return "\n".join(lines + [f"| {row} | " + " | ".join(c.get(row, "–") for c in columns.values()) + " |" for row in names])


def misses(outcomes: Iterable[Outcome]) -> list[str]:
    """What went wrong, one line each: right models accused, bugs missed, places missed, failures."""
    lines = []
    for o in outcomes:
        who = f"{o.entry.id}, seed {o.seed}"
        places = "; ".join(dict.fromkeys(f"{where} by {name}" for where, name in zip(o.places, o.accusers, strict=True)))
        if o.entry.kind != "bug" and o.accused:
            lines.append(f"accused: {who}, at {places}")
        elif o.entry.kind == "bug" and not o.accused:
            lines.append(f"missed: {who}")
        elif o.entry.kind == "bug" and not o.placed:
            lines.append(f"misplaced: {who}, at {places}")
        if o.error:
            lines.append(f"failed: {who}: {_PATHS.sub('', o.error)[:160]}")
    return lines


def document(columns: dict[str, list[Outcome]]) -> str:
    """The page that is written beside the other measurements."""
    tool = next(iter(columns.values()))
    right = [o for o in tool if o.entry.kind != "bug"]
    seeds = len({o.seed for o in tool if o.entry.kind == "bug"})
    facts = [
        f"torch {torch.__version__}. {len(CASES)} wrong gradients, each with a correct twin, and {len(CONTROLS)} correct controls.",
        f"Seeds 0 to {seeds - 1}; correct models by this tool from seeds 0 to {max(o.seed for o in tool)}: {len(right)} runs,",
        f"{sum(o.entry.exact for o in right)} of them float64 throughout.",
    ]
    parts = [
        "# Found and accused", " ".join(facts), table({name: rows(outcomes) for name, outcomes in columns.items()}),
        "## By trigger, where it is active", table({name: triggers(outcomes) for name, outcomes in columns.items()}),
        "## What this tool missed, misplaced or accused", "\n".join(f"- {line}" for line in misses(tool)) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m tests.quality.score", description=__doc__)
    found.add_argument("--seeds", type=int, default=3, help="seeds of every bug, twin and control")
    found.add_argument("--correct-seeds", type=int, default=4, help="seeds of every correct model, for this tool")
    found.add_argument("--budgets", nargs="+", default=["standard", "thorough"], help="budgets of this tool, a column each")
    found.add_argument("--only", default="", help="only models whose id begins with this")
    found.add_argument("--no-peers", action="store_true", help="leave torch's gradcheck out")
    found.add_argument("--keep", type=Path, help="a file of outcomes, of the same code: a run goes on where the last one ended")
    found.add_argument("--output", type=Path, help="where to write the page; benchmarks/results/quality.md by default, for a whole run")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the page; 1 where a correct float64 model was accused."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    models = [entry for entry in entries() if entry.id.startswith(options.only)]
    right = [entry for entry in models if entry.kind != "bug"]
    judges: dict[str, Judge] = {f"this tool, {budget}": partial(judged, budget=budget) for budget in options.budgets}
    if not options.no_peers:
        judges |= {f"gradcheck {'fast' if fast else 'slow'}": partial(peer, fast=fast) for fast in (False, True)}
    columns = {}
    for name, judge in judges.items():
        kept = Kept(options.keep, name) if options.keep else None
        columns[name] = measure(judge, models, range(options.seeds), kept)
        if name.startswith("this"):
            columns[name] += measure(judge, right, range(options.seeds, options.correct_seeds), kept)
    page = document(columns)
    target = options.output or (None if options.only else Path("benchmarks/results/quality.md"))
    if target:
        target.write_text(page, encoding="utf-8")
    print(page)
    accused = [o for name, outcomes in columns.items() if name.startswith("this") for o in outcomes if o.accused]
    return int(any(o.entry.exact and o.entry.kind != "bug" for o in accused))


if __name__ == "__main__":
    sys.exit(main())
