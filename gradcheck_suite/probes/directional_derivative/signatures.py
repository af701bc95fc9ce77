"""Branch signatures: every discrete choice a run makes, and the largest step over which none of them changes.

On one smooth piece a mismatch between backprop and differences is a wrong gradient; where no step is small enough, the
point lies on a kink. Operations are watched by a dispatch mode, so that functions, fused modules and the inside of custom
Functions are seen as well as modules.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.probes.directional_derivative.choices import Choice, choices, results
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES
from gradcheck_suite.probes.directional_derivative.lines import users_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Kink:
    """A discrete choice that a step changes.

    ``operation`` names it, with its threshold where it has one; ``flips`` of ``total`` choices change, the first at ``entry``;
    ``source`` is the user's line, as ``file:line``, or ``""``.
    """

    operation: str
    flips: int
    total: int
    entry: tuple[int, ...]
    source: str

    def __str__(self) -> str:
        where = f", first at {list(self.entry)}" if self.entry else ""
        line = f" ({self.source})" if self.source else ""
        return f"{self.operation}: {self.flips} of {self.total} choices change{where}{line}"


CONTROL_FLOW: Final = "control flow"


class Signature(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records choices; or, given a signature already recorded, finds the first that differs."""

    def __init__(self, reference: list[Choice] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.choices: list[Choice] = []
        self.kink: Kink | None = None
        self._reference, self._count = reference, 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or importing torch._dynamo, seconds of it, would come with the first operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        name = func._schema.name.rpartition("::")[2]
        if self.kink is not None:
            return func(*args, **options)
        before = choices(name, args, options)
        output = func(*args, **options)
        for choice in (*before, *results(name, args, options, output)):
            self._take(choice)
        return output

    def finish(self) -> None:
        """To be called after the run: fewer choices than the reference had are a change of control flow."""
        if self._reference is not None and self.kink is None and self._count != len(self._reference):
            self._differs(CONTROL_FLOW, None, None)

    def _take(self, choice: Choice) -> None:
        name, values = choice
        if self._reference is None:
            self.choices.append((name, values.clone()))
        elif self.kink is None:
            index, self._count = self._count, self._count + 1
            if index >= len(self._reference):
                self._differs(CONTROL_FLOW, None, None)
                return
            known, expected = self._reference[index]
            if known != name or expected.shape != values.shape:
                self._differs(CONTROL_FLOW, None, None)
            elif not torch.equal(expected, values):
                self._differs(name, expected, values)

    def _differs(self, name: str, expected: torch.Tensor | None, values: torch.Tensor | None) -> None:
        if expected is None or values is None:
            self.kink = Kink(operation=name, flips=1, total=1, entry=(), source=users_line())
            return
        changed = (expected != values) & ~(torch.isnan(expected) & torch.isnan(values))
        if bool(changed.any()):
            entry = tuple(int(index) for index in changed.nonzero()[0].tolist())
            self.kink = Kink(operation=name, flips=int(changed.sum()), total=changed.numel(), entry=entry, source=users_line())


def signature(run: Callable[[], Any]) -> list[Choice]:
    """All choices of a run."""
    mode = Signature()
    with mode:
        run()
    return mode.choices


def difference(reference: list[Choice], run: Callable[[], Any]) -> Kink | None:
    """The first choice in which a run differs from a recorded one."""
    mode = Signature(reference)
    try:
        with mode:
            run()
    except FAILURES as error:
        return Kink(operation=f"the model raises {type(error).__name__}", flips=1, total=1, entry=(), source="")
    mode.finish()
    return mode.kink


def smooth_step(at: Callable[[float], Callable[[], Any]], first: float = 1e-6) -> tuple[float | None, Kink | None]:
    """The largest of a ladder of steps over which no choice changes, and the first choice that a larger step changes.

    ``at(t)`` gives a run at distance t along the direction. A step counts where the points at ±h and ±h/2 share the choices
    of the point itself. ``None`` for the step: the point lies on a kink, or closer to one than differences can resolve.
    """
    reference = signature(at(0.0))

    def changed(step: float) -> Kink | None:
        found = (difference(reference, at(t)) for t in (step, -step, step / 2, -step / 2))
        return next((kink for kink in found if kink is not None), None)

    met: Kink | None = None
    for step in _ladder(first, 100.0, 1e-12):
        kink = changed(step)
        if kink is None:
            break
        met = kink
    else:
        return None, met
    if met is not None:
        return step, met
    for larger in _ladder(first * 100.0, 0.01, 0.05):
        met = changed(larger)
        if met is not None:
            break
        step = larger
    return step, met


def _ladder(first: float, divisor: float, last: float) -> Iterator[float]:
    step = first
    while (step >= last) if divisor > 1 else (step <= last):
        yield step
        step /= divisor
