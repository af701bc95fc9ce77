"""Finding the cross entropies of a subject: PyTorch's as they run, and functions and losses that have the values of one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.cross_entropy_calls.meaning import Meaning, Settings, candidates, meaning, same
from gradcheck_suite.probes.directional_derivative.functions import function_name
from gradcheck_suite.probes.directional_derivative.graph import survey
from gradcheck_suite.probes.execution import Running, failures, floating, objective, tensors
from gradcheck_suite.probes.graph import Authors
from gradcheck_suite.probes.handwritten import FunctionRun, function_runs
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup

Tensor = torch.Tensor
_ENTRIES: Final = 2**20  # of the logits of one call that are compared
_LARGEST: Final = 2**22  # logits of a loss that is looked at
_NEAREST: Final = 2  # custom functions, counted from the loss, that are looked at
_SAME: Final = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative: two ways to compute a cross entropy
_OLD: Final = ("size_average", "reduce")
_ORDER: Final = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")


@dataclass(slots=True)
class CrossEntropy:
    """One cross entropy: how to run it on logits, what it means, and where it was found (``None``: in the loss)."""

    path: str | None
    function: str
    run: Callable[[Tensor], Any]
    logits: Tensor
    meaning: Meaning
    source: str = ""
    plain: bool = True
    weighted: bool = False
    whole: bool = False  # all of the loss, in which one of PyTorch's may be found as well


class _Watch(TorchFunctionMode):
    """Calls of ``functional.cross_entropy`` while open: the first in each module, and the first outside."""

    def __init__(self, running: Running) -> None:
        super().__init__()
        self._running = running
        self.found: dict[str | None, CrossEntropy] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        path = self._running.innermost
        if func is functional.cross_entropy and path not in self.found:
            named = {**dict(zip(_ORDER, args, strict=False)), **given}
            if all(named.pop(name, None) is None for name in _OLD):
                with suppress(Exception):  # nothing that is odd about the arguments is the model's fault, which PyTorch took
                    self.found[path] = plain(path, **named)
        return result


def plain(path: str | None, input: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any) -> CrossEntropy:
    """PyTorch's own, on as many samples as are compared; whatever the caller changes later is kept apart."""
    batched = input.dim() > 1
    most = max(1, _ENTRIES * len(input) // max(1, input.numel())) if batched else 1
    logits, goal = (tensor.detach()[:most].clone() if batched else tensor.detach().clone() for tensor in (input, target))
    logits = logits.double()
    goal = goal.double() if goal.is_floating_point() else goal
    settings = Settings(None if weight is None else weight.detach().double().clone(), **options)

    def run(leaf: Tensor) -> Tensor:
        return functional.cross_entropy(leaf, goal, settings.weight, ignore_index=settings.ignore_index, reduction=settings.reduction,
                                        label_smoothing=settings.label_smoothing)

    divided = weight is not None and settings.reduction == "mean"
    return CrossEntropy(path, "cross_entropy", run, logits, meaning(logits, goal, settings), weighted=divided)


def cross_entropies(setup: Setup, seed: int) -> list[CrossEntropy]:
    """All that are found in one forward pass and the loss of a set-up; the whole loss where no custom function in it is one.

    Raises:
        SubjectError: the forward pass or the loss raised.
    """
    running, authors = Running(setup.model), Authors(setup.model)
    watch = _Watch(running)

    def once() -> tuple[Any, Tensor]:
        with failures("forward", running):
            output = setup.model(*setup.batch.args, **setup.batch.kwargs)
        return output, objective(setup, output, seed) if setup.loss is not None else output

    with guarded(setup), running, authors, watch:
        output, value = once()
    ends = [tensor for tensor in floating(value) if tensor.grad_fn is not None]

    def again() -> None:
        with guarded(setup):
            once()

    runs = function_runs(ends, authors, again, _NEAREST)
    with guarded(setup):
        functions = [one for one in map(_of_function, runs) if one is not None]
        loss = None if functions else _of_loss(setup, output)
    return [*watch.found.values(), *functions, *([loss] if loss is not None else [])]


def guarded(setup: Setup) -> ExitStack:
    """The model, the process and the loss, where it is a module, are put back at the end."""
    stack = ExitStack()
    stack.enter_context(preserved(setup.model))
    if isinstance(setup.loss, nn.Module):
        stack.enter_context(preserved(setup.loss, process=False))
    return stack


def _of_function(run: FunctionRun) -> CrossEntropy | None:
    """A call of a custom function on logits and a target."""
    given = [item for item in run.args if isinstance(item, Tensor)]
    if len(given) < 2 or given[0] is not run.args[0] or not given[0].is_floating_point():
        return None
    return _recognised(CrossEntropy(run.module or None, run.name, run.output, given[0], _NOTHING, run.source, False), given[1])


def _of_loss(setup: Setup, output: Any) -> CrossEntropy | None:
    """The loss of a set-up as a function of the one output that its one target fits; stops that are declared excuse it."""
    goals, outputs = tensors(setup.batch.targets), [tensor for tensor in floating(output) if tensor.is_floating_point()]
    if setup.loss is None or len(goals) != 1 or not 0 < len(outputs) <= 4:
        return None
    name = getattr(setup.loss, "__qualname__", type(setup.loss).__name__).rpartition("<locals>.")[2]
    for place, logits in enumerate(outputs):

        def run(leaf: Tensor, place: int = place) -> Any:
            assert setup.loss is not None
            given = [leaf if other == place else tensor.detach().to(leaf.dtype) for other, tensor in enumerate(outputs)]
            return setup.loss(replaced(output, given), setup.batch.targets)

        found = _recognised(CrossEntropy(None, name, run, logits, _NOTHING, plain=False, whole=True), goals[0])
        if found is not None:
            written = {function_name(one) for one in survey([run(found.logits.clone().requires_grad_())]).functions}
            return None if written & set(setup.intended) else found
    return None


def _recognised(one: CrossEntropy, target: Tensor) -> CrossEntropy | None:
    """The same with the meaning that its values have, here and at two random points; in float64, or else in its own precision."""
    for dtype in dict.fromkeys((torch.float64, one.logits.dtype)):
        if dtype not in _SAME or one.logits.dim() == 0 or one.logits.numel() > _LARGEST:
            continue
        logits = one.logits.detach().to(dtype).clone()
        with suppress(Exception):  # a loss may hold weights in the model's own precision
            for known in candidates(logits, target, _value(one, logits)):
                if all(same(_value(one, point), known, point, _SAME[dtype]) for point in _points(logits, one.function)):
                    return replace(one, logits=logits, meaning=known)
    return None


def _points(logits: Tensor, name: str) -> Iterator[Tensor]:
    """These logits, and random ones of two sizes; one at a time, for they may be large."""
    yield logits
    for factor in (1, -3):
        generator = torch.Generator().manual_seed(derive(0, name))
        yield torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits).mul_(factor)


def _value(one: CrossEntropy, logits: Tensor) -> Any:
    """What it makes of logits, without the graph behind it; ``None`` for what has no gradient."""
    found = one.run(logits.clone().requires_grad_())
    return found.detach() if isinstance(found, Tensor) and found.requires_grad else None


_NOTHING: Final = Meaning(0, torch.zeros(0, 0), torch.zeros(0), False)
