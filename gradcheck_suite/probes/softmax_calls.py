"""Softmax calls: what the backward pass of every softmax does to a gradient."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.softmax_calls import SoftmaxCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.activations import SOFTMAX, packet
from gradcheck_suite.probes.execution import Running, failures, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.graph import Authors
from gradcheck_suite.probes.handwritten import FunctionRun, function_runs
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_ENTRIES = 2**18  # of the scores of one softmax that are compared
_TURNS = 3
_SAME = 1e-12  # relative: two ways to compute a softmax in float64


@dataclass(slots=True)
class _Softmax:
    """One softmax: how to run it on scores, where the choices lie, and what is known of it."""

    path: str
    function: str
    run: Callable[[Tensor], Tensor]
    scores: Tensor
    axis: int = -1
    source: str = ""
    plain: bool = True


def softmax_calls(subject: Subject, budget: Budget, seed: int) -> SoftmaxCalls:
    """Run each softmax by itself (see ``captures.softmax_calls``): the first in each module.

    Seen are PyTorch's softmaxes, those inside attention among them, and modules and custom functions whose values are the softmax of
    what they are given, here and at a random point. Declared mismatches are left out.

    Raises:
        NotApplicable: no softmax ran, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, sdpa_kernel([SDPBackend.MATH]), preserved(wide.model):
        found = [one for one in _watched(wide) if not {one.path, one.function} & set(setup.intended)]
        if not found:
            raise NotApplicable("no softmax ran")
        with failures("a softmax alone"), preserved(wide.model):
            rows = [_compared(one, derive(seed, one.path, one.function)) for one in found]
    kept = [index for index, row in enumerate(rows) if row["rows"]]
    if not kept:
        raise NotApplicable("no softmax has a row of at least two finite weights and a finite gradient")
    found, rows = [found[index] for index in kept], [rows[index] for index in kept]
    columns = {name: frozen([row[name] for row in rows], "<i8" if name in ("choices", "rows") else "<f8") for name in rows[0]}
    return SoftmaxCalls(paths=tuple(one.path for one in found), functions=tuple(one.function for one in found),
                        sources=tuple(one.source for one in found), plain=frozen([one.plain for one in found], "|b1"), **columns)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """PyTorch's softmaxes as they run: the scores of the first in each module, with the choices on the last axis; none while paused."""

    def __init__(self, running: Running) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._running, self.paused = running, False
        self.found: dict[str, _Softmax] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        path = self._running.innermost or ""
        fresh = not self.paused and packet(func) in SOFTMAX and path not in self.found
        if fresh and isinstance(result, Tensor) and result.dim() and result.numel():
            with suppress(Exception):  # PyTorch took what it was given, however odd
                scores = args[0].detach().movedim(args[1], -1)
                scores = scores.reshape(-1, scores.shape[-1])[: max(1, _ENTRIES // scores.shape[-1])].clone()
                self.found[path] = _Softmax(path, "softmax", lambda x: torch.softmax(x, -1, dtype=result.dtype), scores)
        return result


def _watched(setup: Setup) -> list[_Softmax]:
    modules: dict[str, _Softmax] = {}

    def keep(call: LeafCall) -> None:
        if call.module is None or call.apply is None or call.path in modules or len(call.inputs) != 1 or len(call.outputs) != 1:
            return
        if type(call.module).__module__.partition(".")[0] != "torch":
            axis = None
            operations.paused = True
            with suppress(Exception):  # an odd kind of tensor is no softmax, and no fault of the model's
                axis = _axis(call.inputs[0].detach(), call.outputs[0].detach())
            operations.paused = False
            if axis is not None:
                scores = call.inputs[0].detach().clone()
                modules[call.path] = _Softmax(call.path, type(call.module).__name__, call.apply, scores, axis, plain=False)

    def again() -> Any:
        with preserved(setup.model), failures("forward"):
            return setup.model(*setup.batch.args, **setup.batch.kwargs)

    running, authors, leaves = Running(setup.model), Authors(setup.model), LeafWatch(setup.model, keep)
    operations = _Operations(running)
    with preserved(setup.model), running, authors, operations, leaves, failures("forward", running):
        output = setup.model(*setup.batch.args, **setup.batch.kwargs)
    runs = function_runs(floating(output), authors, again)
    written = {**modules, **{one.path: one for one in (_recognised(run) for run in reversed(runs)) if one is not None}}
    with preserved(setup.model):
        written = {path: one for path, one in written.items() if _confirmed(one)} if written else {}
    return [*(one for path, one in operations.found.items() if path not in written), *written.values()]


def _recognised(run: FunctionRun) -> _Softmax | None:
    """A call of a custom function as a softmax of its first argument, where its values are that."""
    if not run.args or not isinstance(run.args[0], Tensor) or not run.args[0].is_floating_point():
        return None
    scores = run.args[0].detach().clone()
    try:
        output = run.output(scores)
        axis = _axis(scores, output.detach()) if isinstance(output, Tensor) else None
    except Exception:  # what it is given may depend on the rest of the model
        return None
    return None if axis is None else _Softmax(run.module, run.name, run.output, scores, axis, run.source, False)


def _axis(scores: Tensor, weights: Tensor) -> int | None:
    """The axis over which weights are the softmax of scores; ``None`` where they are not, or there is nothing to choose from."""
    if scores.shape != weights.shape or not scores.numel() or weights.dtype != scores.dtype:
        return None
    with torch.no_grad():
        for axis in range(scores.dim() - 1, -1, -1):
            if scores.shape[axis] < 2 or bool(((weights.sum(axis) - 1).abs() > 1e-6).any()):
                continue
            if torch.allclose(weights, torch.softmax(scores, axis), rtol=_SAME, atol=_SAME, equal_nan=True):
                return axis
    return None


def _confirmed(one: _Softmax) -> bool:
    """Whether it is a softmax at a random point as well, for two functions may agree at one, and can be differentiated alone."""
    generator = torch.Generator().manual_seed(derive(0, one.path))
    drawn = torch.randn(one.scores.shape, generator=generator, dtype=torch.float64).to(one.scores)
    point = torch.where(torch.isfinite(one.scores), drawn, one.scores)
    try:
        leaf = point.clone().requires_grad_()
        weights = one.run(leaf)
        for _ in range(2):
            torch.autograd.grad(weights, leaf, weights.detach(), retain_graph=True)
        return one.axis == _axis(point, weights.detach())
    except Exception:
        return False


def _compared(one: _Softmax, seed: int) -> dict[str, float]:
    leaf = one.scores.clone().requires_grad_()
    weights = one.run(leaf)
    p = weights.detach()
    usable = torch.isfinite(p).all(one.axis, keepdim=True) & (p.gt(0).sum(one.axis, keepdim=True) > 1)
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) * usable
    growth, gradient = 0.0, torch.zeros_like(p)
    for turn in range(_TURNS + 1):
        (g,) = torch.autograd.grad(weights, leaf, u, retain_graph=True)
        g = torch.where(usable, g.to(p.dtype), torch.zeros_like(p))
        if turn == 0:
            cotangent, gradient, finite = u, g, bool(torch.isfinite(g).all())
        size, before = (tensor.square().sum(one.axis, keepdim=True).sqrt() for tensor in (g, u))
        growth = max(growth, float((size / torch.where(before > 0, before, torch.ones_like(before))).max()))
        u = g / torch.where(size > 0, size, torch.ones_like(size))
    narrow = torch.finfo(p.dtype).eps
    p, cotangent, gradient = (torch.where(usable, tensor, torch.zeros_like(tensor)).double() for tensor in (p, cotangent, gradient))
    expected = p * (cotangent - (p * cotangent).sum(one.axis, keepdim=True))
    scale = float((p * (cotangent.abs() + (p * cotangent.abs()).sum(one.axis, keepdim=True))).norm())
    residual = float((gradient - expected).norm()) / scale if scale > 0 else math.nan
    return {"choices": p.shape[one.axis], "rows": int(usable.sum()) if finite else 0, "residual": residual, "growth": growth,
            "epsilon": max(narrow, torch.finfo(leaf.dtype).eps)}
