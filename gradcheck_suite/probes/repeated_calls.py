"""Repeated calls: does a pass depend on how many passes came before it."""

import hashlib
from dataclasses import dataclass

import torch

from gradcheck_suite.captures.repeated_calls import Calls, RepeatedCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.execution import failures, filled, floating, objective, realise
from gradcheck_suite.probes.gradient_rows import Graph, plain_bytes
from gradcheck_suite.probes.state import Guard, preserved
from gradcheck_suite.subject import Setup, Subject

_CALLS = 4


def repeated_calls(subject: Subject, budget: Budget, seed: int) -> RepeatedCalls:
    """Call the model a few times in its own mode and in eval mode (see ``captures.repeated_calls``).

    Raises:
        SubjectError: the subject could not be built, or a call raised in the subject's own mode.
        NotApplicable: nothing can be differentiated, or the batch is empty.
    """
    setup = filled(realise(subject, seed))
    own = "train" if setup.model.training else "eval"
    modes: list[Calls] = []
    unread: list[tuple[str, str]] = []
    for mode in dict.fromkeys((own, "eval")):
        try:
            modes.append(_in_mode(setup, mode, seed))
        except (_Tied, SubjectError, NotApplicable) as error:
            if mode == own and not isinstance(error, _Tied):
                raise
            unread.append((mode, str(error)))
    return RepeatedCalls(modes=tuple(modes), unread=tuple(unread))


class _Tied(Exception):
    """Python values of the model only fit the tensors that it carries from call to call: the two cannot be taken apart."""


@dataclass(frozen=True, slots=True)
class _Trace:
    """What one call gave: each tensor's role, name and a digest of its bits, in order of execution."""

    rows: tuple[tuple[str, str], ...]
    digests: tuple[bytes, ...]


def _in_mode(setup: Setup, mode: str, seed: int) -> Calls:
    own = [(module, module.training) for module in setup.model.modules()]
    if mode == "eval":
        setup.model.eval()
    try:
        with preserved(setup.model) as guard, torch.enable_grad():
            traces = _calls(setup, seed, guard)
    finally:
        for module, training in own:
            module.training = training
    first, *later = traces[1:]
    differing = sorted({index for trace in later for index in _differences(first, trace)})
    rows = max((trace.rows for trace in traces), key=len)
    role, name = rows[differing[0]] if differing else ("", "")
    return Calls(mode=mode, calls=len(traces) - 1, compared=len(rows), differing=len(differing), module=name if role == "output of" else "",
                 what=f"the {role} {name}".rstrip() if differing else "")


def _calls(setup: Setup, seed: int, guard: Guard) -> list[_Trace]:
    """Calls between which tensors are put back. Where that fails and calls with everything left to run on do not, it cannot be done."""
    traces = []
    try:
        for _ in range(_CALLS):
            traces.append(_call(setup, seed))
            guard.rewind_tensors()
    except SubjectError:
        guard.rewind()
        for _ in range(_CALLS):
            _call(setup, seed)
            guard.rewind_process()
        raise _Tied("what it counts only fits the tensors that it carries from one call to the next") from None
    return traces


def _call(setup: Setup, seed: int) -> _Trace:
    graph = Graph.record(setup)
    value = objective(setup, graph.returned, seed)
    names = list(zip(graph.rows.roles, graph.rows.names, strict=True))
    layers = [(("output of", name), tensor) for (role, name), tensor in zip(names, graph.tensors, strict=True) if role == "layer"]
    outputs = [(("output of the model", f"[{index}]"), tensor) for index, tensor in enumerate(floating(graph.returned))]
    seen = [(row, _digest(tensor.detach())) for row, tensor in [*layers, *outputs]]
    with failures("backward"):
        gradients = torch.autograd.grad(value, graph.tensors, allow_unused=True)
    seen += [(("gradient of", name), b"" if gradient is None else _digest(gradient.to_dense()))
             for (_, name), gradient in zip(names, gradients, strict=True)]
    return _Trace(tuple(row for row, _ in seen), tuple(digest for _, digest in seen))


def _differences(one: _Trace, other: _Trace) -> list[int]:
    """Positions at which two traces differ; where other layers ran, all from the first of these on."""
    length = max(len(one.rows), len(other.rows))
    if one.rows != other.rows:
        pairs = zip(one.rows, other.rows, strict=False)
        return list(range(next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.rows), len(other.rows))), length))
    return [index for index, (a, b) in enumerate(zip(one.digests, other.digests, strict=True)) if a != b]


def _digest(tensor: torch.Tensor) -> bytes:
    """A digest of shape, type and bits; zeros of either sign are the same number."""
    kind = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.blake2b(plain_bytes(tensor).cpu().numpy().data, key=kind[:64], digest_size=16).digest()
