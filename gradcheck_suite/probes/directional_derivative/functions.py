"""Custom ``autograd.Function`` classes and operations with a registered gradient: their names, lines and isolated check."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.comparison import ALONE, DISAGREES, NOTHING, Outcome, at_the_point
from gradcheck_suite.probes.directional_derivative.directions import direction
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.examination import Examination, examine
from gradcheck_suite.probes.directional_derivative.experiment import DATA, FAILURES, Experiment, linearize
from gradcheck_suite.probes.directional_derivative.graph import generated
from gradcheck_suite.probes.directional_derivative.lines import relative
from gradcheck_suite.probes.directional_derivative.trees import Tree, inexact_leaves

_MOST_CALLS: Final = 16


def function_name(function: type[Any]) -> str:
    """The class name, or ``namespace::operation`` for an operation registered through ``torch.library``."""
    if generated(function):
        operation = _closed_over(function.__dict__.get("backward"), "op")
        if operation is not None:
            return str(operation).rpartition(".")[0].replace(".", "::", 1)
        return function.__name__.removeprefix("GeneratedBackwardFor_")
    return function.__name__


def function_source(function: type[Any]) -> str | None:
    """``file:line`` of the backward pass that was written by hand."""
    if generated(function):
        info = _closed_over(function.__dict__.get("backward"), "info")
        return source_of(getattr(info, "_backward_fn", None))
    for name in ("backward", "vjp"):
        written = getattr(function, name, None)
        if written is not None and written is not getattr(torch.autograd.Function, name, None):
            found = source_of(written)
            if found is not None:
                return found
    return None


def source_of(function: Any) -> str | None:
    """``file:line`` of a Python function, the file relative to the working folder where it is inside; ``None`` if unknown."""
    function = inspect.unwrap(getattr(function, "__func__", function)) if callable(function) else None
    code = getattr(function, "__code__", None)
    return f"{relative(code.co_filename)}:{code.co_firstlineno}" if code is not None else None


def _closed_over(function: Any, name: str) -> Any:
    function = getattr(function, "__func__", function)
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or closure is None or name not in code.co_freevars:
        return None
    return closure[code.co_freevars.index(name)].cell_contents


class FunctionCall(Experiment):
    """One recorded call of a custom function, isolated."""

    def __init__(self, function: type[Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._function: Any = function
        self._tree = Tree(args)
        self._needs = [leaf.requires_grad for leaf in self._tree.leaves]
        self._leaves = [leaf.detach().clone().requires_grad_(needs) for leaf, needs in zip(self._tree.leaves, self._needs, strict=True)]
        self.tensors = [leaf for leaf, needs in zip(self._leaves, self._needs, strict=True) if needs]
        self.roles = [DATA] * len(self.tensors)  # an argument may be given no gradient on purpose; the module's own check decides
        self._generator = torch.get_rng_state()

    def names(self) -> list[str]:
        """Positions of the arguments."""
        return [name for name, needs in zip(self._tree.paths(), self._needs, strict=True) if needs]

    def run(self) -> list[torch.Tensor]:
        """The function's outputs."""
        torch.set_rng_state(self._generator)
        leaves = [leaf.clone() if leaf.requires_grad else leaf for leaf in self._leaves]
        return inexact_leaves(self._function.apply(*self._tree.build(leaves)))

    def reset(self) -> None:
        """The random numbers of the next run are those of this one; nothing else is known to change."""
        torch.set_rng_state(self._generator)


@contextmanager
def recorded(functions: list[type[Any]]) -> Iterator[list[tuple[type[Any], tuple[Any, ...]]]]:
    """Record the arguments of these functions' calls, however ``apply`` was reached.

    ``apply`` looks up ``forward`` on the class each time it runs, also where it was bound to a name long before.
    """
    calls: list[tuple[type[Any], tuple[Any, ...]]] = []
    kept = [(function, function.__dict__.get("forward"), function.forward) for function in functions]
    try:
        for function, _, used in kept:
            function.forward = staticmethod(_recording(function, used, calls))
        yield calls
    finally:
        for function, forward, _ in kept:
            if forward is None:
                del function.forward
            else:
                function.forward = forward


def _recording(function: Any, forward: Callable[..., Any], calls: list[tuple[type[Any], tuple[Any, ...]]]) -> Callable[..., Any]:
    own_context = function.setup_context is torch.autograd.Function.setup_context

    def record(*args: Any) -> Any:
        given = args[1:] if own_context else args
        if len(calls) < _MOST_CALLS:
            calls.append((function, given))
        return forward(*args)

    return record


def wrong_functions(experiment: Experiment, functions: list[type[Any]], draws: Draws, unstopped: bool = False) -> list[type[Any]]:
    """Those of an experiment's custom functions whose gradient is wrong in isolation as well; ``unstopped``: also without their stops."""
    wrong: list[type[Any]] = []
    with recorded(functions) as calls, torch.enable_grad(), experiment.arithmetic():
        experiment.run()
    experiment.reset()
    for function, args in list(calls):
        if function in wrong:
            continue
        call = FunctionCall(function, args)
        call.unstopped = unstopped
        try:
            found = examine(call, draws, ALONE)
        except FAILURES:
            continue
        if found.status == DISAGREES:
            wrong.append(function)
    return wrong


def wrong_at_the_point(
    experiment: Experiment, functions: list[type[Any]], draws: Draws
) -> tuple[type[Any], FunctionCall, Examination] | None:
    """A custom function whose gradient is wrong at the very point, where choices change but its own slope does not."""
    with recorded(functions) as calls, torch.enable_grad(), experiment.arithmetic():
        experiment.run()
    experiment.reset()
    for function, args in list(calls):
        call = FunctionCall(function, args)
        with suppress(*FAILURES):
            linear = linearize(call, draws)
            along = direction(call, linear, draws)
            outcome = at_the_point(call, linear, along) if along.positions else Outcome(NOTHING)
            if outcome.status == DISAGREES:
                return function, call, Examination(outcome, linear, along, confirmed=1)
    return None


def wrong_function(experiment: Experiment, functions: list[type[Any]], draws: Draws) -> tuple[type[Any] | None, bool]:
    """The custom function to name for a place that disagrees, and whether it is wrong by itself; else the only one there."""
    wrong = wrong_functions(experiment, functions, draws) if functions else []
    return (wrong[0], True) if wrong else (functions[0] if len(functions) == 1 else None, False)


def loss_name(module: nn.Module) -> str:
    """Name of a loss for people."""
    function = getattr(module, "function", None)
    return getattr(function, "__qualname__", type(module).__name__) if function is not None else type(module).__name__

