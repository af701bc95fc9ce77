"""Width ladder: the first steps of the same set-up at several widths (the coordinate check of Yang et al.)."""

import math
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.width_ladder import WidthLadder
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import floating, hookable, realise
from gradcheck_suite.probes.experiment import Experiment, is_finite, require_training
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

_TIMES = (1, 2, 4, 8)
_STEPS = 3
_DRAWS = 4
_MOST = 4_000_000


def width_ladder(subject: Subject, budget: Budget, seed: int) -> WidthLadder:
    """The scales (see ``captures.width_ladder.WidthLadder``), at up to eight times the subject's width and four million parameters.

    Raises:
        NotApplicable: the subject's maker takes no width, it has no loss or optimiser, or wider ones are too large.
        SubjectError: the subject failed.
    """
    if subject.widened is None:
        raise NotApplicable("the subject is not made from a width (a factory with a parameter width, or an architecture)")
    tables: list[list[list[dict[str, float]]]] = []
    counts: list[int] = []
    for times in _TIMES:
        wide = subject if times == 1 else subject.widened(times)
        count = _parameters(wide, seed)
        if count > _MOST and len(tables) < 2:
            raise NotApplicable(f"at {times} times its width the model has {count} parameters")
        if count > _MOST:
            break
        counts.append(count)
        tables.append([_sizes(wide, derive(seed, "draw", draw)) for draw in range(min(_DRAWS, budget.draws))])
    modules = tuple(path for path in tables[0][0][0] if all(path in step for draws in tables for rows in draws for step in rows))
    sizes = [[[[step[path] for path in modules] for step in rows] for rows in draws] for draws in tables]
    return WidthLadder(times=frozen(_TIMES[: len(tables)], "<i8"), modules=modules, sizes=frozen(sizes), parameters=frozen(counts, "<i8"))


def _parameters(subject: Subject, seed: int) -> int:
    setup = realise(subject, seed)
    require_training(setup)
    return sum(p.numel() for p in setup.model.parameters() if p.requires_grad)


def _sizes(subject: Subject, seed: int) -> list[dict[str, float]]:
    """Log mean absolute entry of every module's output, before the first step and after each; NaN after one that is not finite."""
    setup = realise(subject, seed)
    rows: list[dict[str, float]] = []
    with preserved(setup.model), torch.enable_grad():
        run = Experiment(setup, seed)
        for step in range(_STEPS + 1):
            with _Sizes(setup.model) as sizes:
                loss = run.gradients()
            rows.append(sizes.seen)
            if step < _STEPS and is_finite(loss):
                run.step()
    return rows


class _Sizes:
    """Log mean absolute entry of the first output of every module without children, while open."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: dict[str, float] = {}
        self._modules = [(path, module) for path, module in hookable(model) if not list(module.children())]

    def __enter__(self) -> "_Sizes":
        self._handles = [module.register_forward_hook(lambda _, __, output, path=path: self._note(path, output))
                         for path, module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, path: str, output: Any) -> None:
        found = [tensor for tensor in floating(output) if not tensor.is_complex() and tensor.numel()]
        if found and path not in self.seen:
            size = float(found[0].detach().double().abs().mean())
            self.seen[path] = math.log(size) if math.isfinite(size) and size > 0 else math.nan
