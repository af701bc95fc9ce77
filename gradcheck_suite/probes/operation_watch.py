"""Operation watch: one forward and backward pass seen operation by operation, to name the first that is not finite."""

import math
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.captures.operation_watch import STABLE_FORMS, Operation, OperationWatch
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.probes.activations import ATTENTION, packet
from gradcheck_suite.probes.execution import Running, failures, realise, tensors
from gradcheck_suite.probes.experiment import Experiment, is_finite
from gradcheck_suite.probes.graph import Authors, name_of, nodes, source_in, source_of
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

# They write infinities that were asked for: constants, masks, memory not yet filled.
_WRITERS = {
    "constant_pad_nd", "empty", "empty_like", "empty_strided", "fill", "fill_", "full", "full_like", "index_put", "index_put_",
    "lift_fresh", "masked_fill", "masked_fill_", "masked_scatter", "new_empty", "new_full", "scalar_tensor", "scatter", "where",
}
_KEPT = 20


def operation_watch(subject: Subject, budget: Budget, seed: int) -> OperationWatch:
    """What the operations did (see ``captures.operation_watch.OperationWatch``).

    Raises:
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        return watched(Experiment(setup, seed))


def watched(run: Experiment) -> OperationWatch:
    """One forward and backward pass of an experiment at its present parameters, watched."""
    for parameter in run.model.parameters():
        parameter.grad = None
    generator = torch.get_rng_state()
    with Running(run.model) as running, Forward(running) as forward:
        loss = run.loss()
    finite_loss, backward = is_finite(loss.detach()), None
    if loss.requires_grad:
        with failures("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
    finite_gradients = is_finite(*(_values(p.grad) for p in run.model.parameters()))
    if finite_loss and not finite_gradients:
        torch.set_rng_state(generator)
        backward = first_in_backward(run)
    producer = None if finite_loss and finite_gradients else backward or forward.first()
    return OperationWatch(
        loss=float(loss.detach()), finite_loss=finite_loss, finite_gradients=finite_gradients, operations=forward.count,
        attentions=forward.attentions,
        producer=producer, fragile=tuple(forward.fragile.values()), mixed=tuple(forward.mixed.values()),
    )


def first_in_backward(run: Experiment) -> Operation | None:
    """The first node of the backward pass that makes gradients that are not finite out of finite ones."""
    found: list[tuple[Any, int]] = []
    with Authors(run.model) as authors, torch.autograd.set_detect_anomaly(True, check_nan=False):
        loss = run.loss()
    handles = [node.register_hook(_watcher(node, found)) for node in nodes(loss)]
    try:
        with failures("backward"):
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return None
    node, entries = found[0]
    smallest, largest = _range(_saved(node))
    return Operation(name=name_of(node), phase="backward", module=authors.of(node), source=source_of(node), entries=entries,
                     smallest=smallest, largest=largest)


def _watcher(node: Any, found: list[tuple[Any, int]]) -> Callable[[Any, Any], None]:
    def see(inputs: Any, outputs: Any) -> None:
        if not found and is_finite(*tensors(outputs)) and not is_finite(*tensors(inputs)):
            found.append((node, sum(int((~torch.isfinite(tensor)).sum()) for tensor in tensors(inputs))))

    return see


def _saved(node: Any) -> torch.Tensor | None:
    for name in ("_saved_self", "_saved_result", "_saved_other", "_saved_A", "_saved_L"):
        value = getattr(node, name, None)
        if isinstance(value, torch.Tensor):
            return value.detach()
    return None


class Forward(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operations of a forward pass: candidates for the first that is not finite, fragile ones, mixed ones."""

    def __init__(self, running: Running) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running, self.count, self.attentions = running, 0, 0
        self.candidates: list[Operation] = []
        self.fragile: dict[tuple[str, str | None], Operation] = {}
        self.mixed: dict[tuple[str, str | None], Operation] = {}
        self._probabilities: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = packet(func)
        name = str(operation).rpartition(".")[2]
        given = [tensor for tensor in tensors(list(args)) if tensor.is_floating_point()]
        before = [bool(torch.isfinite(tensor).all()) for tensor in given] if not self.candidates else []
        self._edges(name, args, given)
        if operation in ATTENTION:
            self.attentions += 1
            self._dtypes(name, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        self.count += 1
        if len(self.candidates) < _KEPT and name not in _WRITERS:
            self._judge(name, given, before, result)
        return result

    def first(self) -> Operation | None:
        """The first operation that was not asked for what it made."""
        return self.candidates[0] if self.candidates else None

    def _judge(self, name: str, given: list[torch.Tensor], before: list[bool], result: Any) -> None:
        made = [tensor for tensor in tensors(result) if tensor.is_floating_point()]
        wrong = sum(int((~torch.isfinite(tensor)).sum()) for tensor in made)
        if not wrong:
            return
        masked = not all(before) and all(bool((torch.isfinite(t) | (t == -math.inf)).all()) for t in given)
        nan = any(bool(torch.isnan(tensor).any()) for tensor in made)
        if all(before) or (masked and nan):
            decisive = given[-1:] if name == "div" else given[:1] if name in _EDGES else given
            ranges = [_range(tensor) for tensor in decisive] or [(math.nan, math.nan)]
            smallest, largest = min(low for low, _ in ranges), max(high for _, high in ranges)
            self.candidates.append(self._operation(name, wrong, smallest, largest))

    def _operation(self, name: str, entries: int, smallest: float, largest: float, remark: str = "") -> Operation:
        return Operation(name=name.strip("_"), phase="forward", module=self.running.innermost, entries=entries, smallest=smallest,
                         largest=largest, source=source_in("".join(traceback.format_stack(limit=40))), remark=remark)

    def _edges(self, name: str, args: Any, given: list[torch.Tensor]) -> None:
        """Arguments at the edge of what the operation can take, for those with a stable form."""
        edge = _EDGES.get(name)
        position = 1 if name == "div" else 0
        if edge is None or len(args) <= position or not isinstance(args[position], torch.Tensor) or not args[position].numel():
            return
        value = args[position].detach()
        if not value.is_floating_point() or not any(tensor.requires_grad for tensor in given):
            return  # no gradient passes here; should the value fail, what it leads to is judged
        near = edge(value, args)
        key = (name, self.running.innermost)
        if near is not None and bool(near.any()) and key not in self.fragile:
            smallest, largest = _range(value)
            self.fragile[key] = self._operation(name, int(near.sum()), smallest, largest, STABLE_FORMS.get(name, ""))

    def _dtypes(self, name: str, args: Any, kwargs: dict[str, Any]) -> None:
        mask = next((t for t in (*args[3:4], kwargs.get("attn_mask")) if isinstance(t, torch.Tensor)), None)
        if mask is not None and mask.is_floating_point() and mask.dtype != args[0].dtype:
            remark = f"queries are {_short(args[0].dtype)}, the additive mask is {_short(mask.dtype)}"
            self.mixed.setdefault((name, self.running.innermost), self._operation(name, mask.numel(), math.nan, math.nan, remark))


def _subnormal(value: torch.Tensor, args: Any) -> torch.Tensor:
    return value < torch.finfo(value.dtype).tiny


def _overflowing(value: torch.Tensor, args: Any) -> torch.Tensor:
    return value > math.log(torch.finfo(value.dtype).max) - 1.0


def _at_one(value: torch.Tensor, args: Any) -> torch.Tensor:
    return value.abs() >= 1.0


def _zero(value: torch.Tensor, args: Any) -> torch.Tensor:
    return value == 0


def _root(value: torch.Tensor, args: Any) -> torch.Tensor | None:
    exponent = args[1] if len(args) > 1 else None
    return value == 0 if isinstance(exponent, int | float) and exponent < 1 else None


_EDGES: dict[str, Callable[[torch.Tensor, Any], torch.Tensor | None]] = {
    "log": _subnormal, "sqrt": _subnormal, "rsqrt": _subnormal, "reciprocal": _zero, "div": _zero, "exp": _overflowing, "pow": _root,
    "acos": _at_one, "asin": _at_one, "atanh": _at_one,
}


def _range(value: torch.Tensor | None) -> tuple[float, float]:
    if value is None or not value.numel() or not value.is_floating_point():
        return math.nan, math.nan
    known = value.detach()
    known = known[~torch.isnan(known)]
    return (float(known.min()), float(known.max())) if known.numel() else (math.nan, math.nan)


def _values(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return gradient.coalesce().values() if gradient is not None and gradient.layout == torch.sparse_coo else gradient


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
