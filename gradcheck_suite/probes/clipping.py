"""Clipping of the gradient's norm: on trial between backward pass and step, and the calls that the optimiser's own step makes."""

import contextlib
import inspect
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.clipping import SLACK, Clip
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.probes.experiment import is_finite

Tensor = torch.Tensor
Named = Sequence[tuple[str, nn.Parameter]]
Snapshot = Mapping[int, Tensor]
_BOUNDS = (0.5, 2.0)
# A norm of float32 numbers between this and its inverse neither overflows nor loses a difference of one rounding when it is squared.
_SAFE = 1e-11
_CLIP: Callable[..., Any] = nn.utils.clip_grad_norm_
_CODE = inspect.unwrap(_CLIP).__code__


def tried(named: Named, gradients: Sequence[Tensor | None], given: Sequence[nn.Parameter]) -> tuple[Clip, ...]:
    """Clip the gradients at hand to half and to twice their norm; afterwards they are what they were, bit for bit.

    Args:
        named: the model's parameters.
        gradients: dense copies of their gradients, in that order.
        given: the parameters that a training would clip, as it would give them (one may be there twice).

    Nothing is tried where all gradients are zero or some are not finite.
    """
    known = {id(p) for _, p in named}
    given = [p for p in given if id(p) in known]
    copies = {id(p): gradient for (_, p), gradient in zip(named, gradients, strict=True) if gradient is not None}
    mine = _named(named, given)
    whole = {id(p): copies[id(p)] if p.grad.layout == torch.strided else p.grad.detach().clone() for _, p in mine if p.grad is not None}
    sizes = [_norm(whole[id(p)]) for _, p in mine]
    norm = math.hypot(*sizes)
    if not 0.0 < norm < math.inf:
        return ()
    clips = []
    for times in _BOUNDS:
        try:
            _CLIP(given, times * norm)
            clips.append(_compared(mine, whole, given, Clip(within_step=False, bound=times * norm, **_EMPTY | {"before": frozen(sizes)})))
        except Exception as refusal:  # sparse gradients of some layouts, or a format that has no such operation
            clips.append(Clip(within_step=False, bound=times * norm, refused=f"{type(refusal).__name__}: {str(refusal)[:120]}", **_EMPTY))
        finally:
            _put_back(mine, whole)
        if clips[-1].refused:
            break
    return tuple(clips)


class StepWatch:
    """While open, the calls of ``clip_grad_norm_`` that a step makes, in ``clips``; nothing is watched where a profiler is at work.

    The calls are seen by the function's code object, by whatever name the caller imported it.
    """

    def __init__(self, named: Named, optimizer: torch.optim.Optimizer | None) -> None:
        self.clips: list[Clip] = []
        self._named, self._optimizer = named, optimizer
        self._before: Snapshot = {}
        self._given: list[list[nn.Parameter]] = []
        self._watching = False

    def __enter__(self) -> "StepWatch":
        register = getattr(self._optimizer, "register_step_pre_hook", None)
        self._handle = register(self._begun) if register is not None else None
        self._watching = self._optimizer is not None and sys.getprofile() is None
        if self._watching:
            sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watching:
            sys.setprofile(None)
        if self._handle is not None:
            self._handle.remove()

    def _see(self, frame: FrameType, event: str, result: Any) -> None:
        if frame.f_code is not _CODE:
            return
        with contextlib.suppress(Exception):  # what cannot be compared is not judged
            if event == "call":
                self._before = _snapshot(self._named)
            elif event == "return" and result is not None:
                self._returned(frame)

    def _returned(self, frame: FrameType) -> None:
        given = list(frame.f_locals["parameters"])
        blank = Clip(within_step=True, bound=float(frame.f_locals["max_norm"]), order=float(frame.f_locals["norm_type"]),
                     source=_caller(frame), **_EMPTY)
        mine = [(name, p) for name, p in _named(self._named, given) if id(p) in self._before]
        whole = {id(p): self._before[id(p)] for _, p in mine}
        if mine and len(mine) == len({id(p) for p in given if p.grad is not None}) and is_finite(*whole.values()):
            sizes = frozen([_norm(whole[id(p)]) for _, p in mine])
            self.clips.append(_compared(mine, whole, given, replace(blank, before=sizes)))
            self._given.append([p for _, p in mine])

    def _begun(self, *_: Any) -> None:
        for position, (clip, given) in enumerate(zip(self.clips, self._given, strict=True)):
            now = _total((p.grad for p in given if p.grad is not None), clip.order)
            self.clips[position] = replace(clip, at_step=now)


_EMPTY: dict[str, Any] = {name: frozen([], "<i8" if name == "entries" else "<f8")
                          for name in ("before", "deviation", "entries", "epsilon", "tiny")}


def _compared(named: Named, whole: Snapshot, given: Sequence[nn.Parameter], blank: Clip) -> Clip:
    """The clip with what it made of the gradients, against what they were; ``before`` is known."""
    norm = math.hypot(*blank.before) if blank.order == 2.0 else _total((whole[id(p)] for _, p in named), blank.order)
    factor = min(1.0, blank.bound / (norm + SLACK))
    now = [_dense(p.grad) for _, p in named]
    formats = [torch.finfo(gradient.dtype) for gradient in now]
    counts = Counter(id(p) for p in given)
    gaps = [_distance(gradient, whole[id(p)], factor, float(size)) for gradient, (_, p), size in zip(now, named, blank.before, strict=True)]
    return replace(
        blank, parameters=tuple(name for name, _ in named), norm=norm, after=_total(now, blank.order) if factor < 1 or any(gaps) else norm,
        repeated=tuple(name for name, p in named if counts[id(p)] > 1), shared=_shared(named),
        deviation=frozen(gaps), entries=frozen([gradient.numel() for gradient in now], "<i8"),
        epsilon=frozen([info.eps for info in formats]), tiny=frozen([info.tiny for info in formats]),
    )


def _named(named: Named, given: Iterable[nn.Parameter]) -> list[tuple[str, nn.Parameter]]:
    """The given parameters that have a gradient, each once, with their names."""
    names = {id(p): name for name, p in reversed(named)}
    return [(names[key], p) for key, p in {id(p): p for p in given}.items() if p.grad is not None and key in names]


def _snapshot(named: Iterable[tuple[str, nn.Parameter]]) -> dict[int, Tensor]:
    return {id(p): p.grad.detach().clone() for _, p in named if p.grad is not None}


def _put_back(named: Named, whole: Snapshot) -> None:
    for _, parameter in named:
        gradient, old = parameter.grad, whole[id(parameter)]
        if gradient is None:
            continue
        try:
            gradient.detach().copy_(old)
        except (RuntimeError, NotImplementedError):  # an expanded tensor cannot be written to, and was not
            parameter.grad = old.clone()


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.detach().to_dense() if gradient.layout != torch.strided else gradient.detach()


def _norm(gradient: Tensor, order: float = 2.0) -> float:
    dense = _dense(gradient)
    wide = torch.complex128 if dense.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(dense, order, dtype=wide)) if dense.numel() else 0.0


def _total(gradients: Iterable[Tensor], order: float) -> float:
    sizes = torch.tensor([_norm(gradient, order) for gradient in gradients], dtype=torch.float64)
    return float(torch.linalg.vector_norm(sizes, order)) if sizes.numel() else 0.0


def _distance(now: Tensor, before: Tensor, factor: float, size: float) -> float:
    """||now - factor · before||, in float64 where float32 could overflow or lose it."""
    old = _dense(before)
    if factor == 1.0 and torch.equal(now, old):
        return 0.0
    if old.dtype == torch.float32 and _SAFE < size < 1 / _SAFE:
        return float(torch.linalg.vector_norm(torch.sub(now, old, alpha=factor)))
    wide = torch.complex128 if old.is_complex() else torch.float64
    return _norm(now.to(wide) - factor * old.to(wide))


def _shared(named: Named) -> tuple[str, ...]:
    """Names of parameters whose gradient overlaps another's in memory."""
    spans = sorted((*_span(p.grad), name) for name, p in named if p.grad is not None and p.grad.layout == torch.strided and p.grad.numel())
    found: dict[str, None] = {}
    furthest, holder = 0, ""
    for start, end, name in spans:
        if start < furthest:
            found |= {holder: None, name: None}
        if end > furthest:
            furthest, holder = end, name
    return tuple(found)


def _span(gradient: Tensor) -> tuple[int, int]:
    """First address of its entries and the first one behind them."""
    reach = 1 + sum((size - 1) * stride for size, stride in zip(gradient.shape, gradient.stride(), strict=True))
    return gradient.data_ptr(), gradient.data_ptr() + reach * gradient.element_size()


def _caller(frame: FrameType) -> str:
    """``file:line`` of the nearest frame outside torch."""
    home = torch.__path__[0]
    outer: FrameType | None = frame
    while outer is not None and outer.f_code.co_filename.startswith(home):
        outer = outer.f_back
    return f"{outer.f_code.co_filename}:{outer.f_lineno}" if outer is not None else ""
