"""Tied weights: what a shared parameter's gradient is, and what its uses send it when each has a copy of its own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.tied_weights import TiedWeights
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.declared import reason_within
from gradcheck_suite.probes.execution import failures, forward, hookable, objective, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.graph import uses
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_COPIES = 8  # of one parameter; further calls share the original
_ENTRIES = 2**28  # of all copies
_SAME = 1e-12  # relative: the objective with and without copies, and a sum that no mismatch explains


@dataclass(slots=True)
class _Tied:
    """A shared parameter, its owners as (path, module, name), the gradient it received, and the copies given to its uses."""

    parameter: nn.Parameter
    owners: list[tuple[str, Any, str]]
    gradient: Tensor | None = None
    copies: list[nn.Parameter] = field(default_factory=list)

    def parts(self) -> list[Tensor]:
        """The gradients of the uses, once the copies have received them; the original stands for uses outside the owners' calls."""
        return [leaf.grad.to_dense() for leaf in (*self.copies, self.parameter) if leaf.grad is not None]


def tied_weights(subject: Subject, budget: Budget, seed: int) -> TiedWeights:
    """One forward and backward pass of the subject's objective as it is, one with copies (see ``captures.tied_weights``).

    For the time of each of its calls, an owner of a shared parameter is given a copy, unless it holds another tensor in its place or the
    parameter is frozen then. Declared mismatches are left out, and parameters that a hook takes the gradient from as soon as it is there.

    Raises:
        NotApplicable: no trained parameter has several uses, the model does not run in float64 or with copies, or its objective does not
            repeat.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, preserved(wide.model) as guard:
        wide.model.zero_grad(set_to_none=True)
        with _counted(wide.model) as calls:
            value = objective(wide, forward(wide), seed)
        tied = _shared(wide, calls, value)
        if not tied:
            raise NotApplicable("no trained parameter is used by several modules or calls")
        declared = reason_within(wide, value)
        with failures("backward"):
            value.backward()  # type: ignore[no-untyped-call]
        for one in tied:
            grad = one.parameter.grad
            one.gradient = torch.zeros_like(one.parameter) if grad is None else grad.detach().to_dense().clone()
        guard.rewind()
        wide.model.zero_grad(set_to_none=True)
        _apart(wide, tied, value.detach(), seed)
        parted = [one for one in tied if len(one.parts()) > 1 and one.gradient is not None and bool(torch.isfinite(one.gradient).all())]
        if not parted:
            raise NotApplicable("no trained parameter with a finite gradient is used by several modules or calls that can be told apart")
        judged = [(one, row) for one, row in zip(parted, map(_compared, parted), strict=True) if not declared or row["residual"] <= _SAME]
        if not judged:
            raise NotApplicable(f"the gradient is not the sum over the uses, and a mismatch is declared: {declared}")
    parted, rows = [one for one, _ in judged], [row for _, row in judged]
    columns = {name: frozen([row[name] for row in rows], "<i8" if name == "uses" else "<f8") for name in rows[0]}
    return TiedWeights(
        paths=tuple(one.owners[0][0] for one in parted), names=tuple(one.owners[0][2] for one in parted),
        owners=frozen([len(one.owners) for one in parted], "<i8"), **columns,
    )


@contextmanager
def _counted(model: nn.Module) -> Iterator[Counter[int]]:
    """How often each module that owns a parameter is called while the context is open, by identity."""
    calls: Counter[int] = Counter()
    owners = [module for _, module in hookable(model) if module._parameters]
    handles = [module.register_forward_pre_hook(lambda module, _: calls.update([id(module)])) for module in owners]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _shared(setup: Setup, calls: Counter[int], value: Tensor) -> list[_Tied]:
    """The trained parameters that may have several uses."""
    found: dict[int, _Tied] = {}
    for path, module in hookable(setup.model):
        for name, parameter in module._parameters.items():
            if type(parameter) is not nn.Parameter or not parameter.requires_grad:
                continue
            if not getattr(parameter, "_post_accumulate_grad_hooks", None):
                found.setdefault(id(parameter), _Tied(parameter, [])).owners.append((path, module, name))
    taken, entries, tied = uses(value) if value.requires_grad else {}, 0, []
    for key, one in found.items():
        called = sum(calls[id(module)] for _, module, _ in one.owners)
        several = called > 1 or (called == 1 and len(taken.get(key, ())) > 1)
        if several and not {path for path, _, _ in one.owners} & set(setup.intended):
            entries += min(called, _COPIES) * one.parameter.numel()
            tied += [one] if entries <= _ENTRIES else []
    return tied


def _apart(setup: Setup, tied: list[_Tied], expected: Tensor, seed: int) -> None:
    """Forward and backward pass with a copy of each shared parameter for every call of its owners."""
    try:
        with _copied(tied):
            value = objective(setup, forward(setup), seed)
            with failures("backward"):
                value.backward()  # type: ignore[no-untyped-call]
    except SubjectError as failure:
        raise NotApplicable(f"the model does not run with a copy of a shared parameter for each use: {str(failure)[:120]}") from None
    if not bool((value.detach() - expected).abs() <= _SAME * expected.abs()):
        raise NotApplicable("the objective is another one with a copy of the shared parameters for each use")


@contextmanager
def _copied(tied: list[_Tied]) -> Iterator[None]:
    """Give each owner a copy for the time of each of its calls, those of a backward pass that runs it again included."""
    shares: dict[int, tuple[Any, list[tuple[str, _Tied]]]] = {}
    for one in tied:
        for _, module, name in one.owners:
            shares.setdefault(id(module), (module, []))[1].append((name, one))
    handles = []
    for module, held in shares.values():
        before: list[list[Any]] = []

        def enter(module: nn.Module, _: Any, held: Any = held, before: Any = before) -> None:
            before.append([module._parameters[name] for name, _ in held])
            for name, one in held:
                trained = one.parameter.requires_grad and module._parameters[name] is one.parameter
                if trained and len(one.copies) < _COPIES:
                    one.copies.append(nn.Parameter(one.parameter.detach().clone()))
                    module._parameters[name] = one.copies[-1]

        def leave(module: nn.Module, _: Any, __: Any, held: Any = held, before: Any = before) -> None:
            for (name, _), kept in zip(held, before.pop(), strict=True):
                module._parameters[name] = kept

        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compared(one: _Tied) -> dict[str, float]:
    parts, gradient = one.parts(), one.gradient
    assert gradient is not None
    total, sizes = torch.stack(parts).sum(0), torch.stack([part.abs() for part in parts]).sum(0)
    square = float(total.square().sum())
    return {"uses": len(parts), "residual": float((gradient - total).norm()) / (float(sizes.norm()) or 1.0),
            "ratio": float((gradient * total).sum()) / square if square > 0 else float("nan"), "epsilon": torch.finfo(total.dtype).eps}
