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
    mine = _named(_names(named), given)
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

    Calls are seen by the functions' code objects: the clip's, by whatever name the caller imported it, and those of the ``step`` of the
    optimiser's class and its bases. A hook of torch's would not do: it is there for a base class only once that class had an instance.
    """

    def __init__(self, named: Named, optimizer: torch.optim.Optimizer | None) -> None:
        self.clips: list[Clip] = []
        self._names = _names(named)
        self._steps = _steps(optimizer)
        self._optimizer = optimizer
        self._pending: FrameType | None = None
        self._before: Snapshot = {}
        self._open: dict[int, list[nn.Parameter]] = {}
        self._watching = False

    def __enter__(self) -> "StepWatch":
        self._watching = self._optimizer is not None and sys.getprofile() is None
        if self._watching:
            sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watching:
            sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        with contextlib.suppress(Exception):  # what cannot be compared is not judged
            if code is _CODE and event == "return":
                self._pending = None
                if result is not None:
                    self._returned(frame)
            elif code is _CODE and event == "call":
                self._before, self._pending = {}, frame
                self._look(frame)
            elif self._pending is not None and (frame is self._pending or frame.f_back is self._pending):
                self._look(self._pending)
            elif event == "call" and id(code) in self._steps:
                self._begun(final=self._steps[id(code)])

    def _look(self, frame: FrameType) -> None:
        """Keep the gradients that a clip is given, as soon as it has them in a list: an iterator is for the clip alone to read."""
        given = frame.f_locals["parameters"]
        if isinstance(given, torch.Tensor | list | tuple):
            self._pending = None
            given = [given] if isinstance(given, torch.Tensor) else given
            self._before = {id(p): p.grad.detach().clone() for p in given if p.grad is not None and id(p) in self._names}

    def _returned(self, frame: FrameType) -> None:
        given = list(frame.f_locals["parameters"])
        blank = Clip(within_step=True, bound=float(frame.f_locals["max_norm"]), order=float(frame.f_locals["norm_type"]),
                     source=_caller(frame), **_EMPTY)
        whole, self._before = self._before, {}
        mine = [(name, p) for name, p in _named(self._names, given) if id(p) in whole]
        if mine and len(mine) == len({id(p) for p in given if p.grad is not None}) and is_finite(*whole.values()):
            sizes = frozen([_norm(whole[id(p)]) for _, p in mine])
            self._open[len(self.clips)] = [p for _, p in mine]
            self.clips.append(_compared(mine, whole, given, replace(blank, before=sizes)))

    def _begun(self, *, final: bool) -> None:
        """A step of some class begins: what it finds of the gradients clipped before; the last word is that of torch's own class."""
        for position, given in self._open.items():
            clip = self.clips[position]
            now = _total((p.grad for p in given if p.grad is not None), clip.order)
            self.clips[position] = replace(clip, at_step=now)
        self._open = {} if final else self._open


def _steps(optimizer: torch.optim.Optimizer | None) -> dict[int, bool]:
    """The code objects, by identity, of ``step`` in the optimiser's class and its bases; whether the class is torch's own."""
    found: dict[int, bool] = {}
    for base in type(optimizer).__mro__:
        code = getattr(inspect.unwrap(base.__dict__.get("step", base)), "__code__", None)
        if code is not None:
            found[id(code)] = base.__module__.partition(".")[0] == "torch"
    return found


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


def _names(named: Named) -> dict[int, str]:
    """The first name of each parameter, by identity."""
    return {id(p): name for name, p in reversed(named)}


def _named(names: Mapping[int, str], given: Iterable[nn.Parameter]) -> list[tuple[str, nn.Parameter]]:
    """The given parameters that have a gradient and a name, each once, with their names."""
    return [(names[key], p) for key, p in {id(p): p for p in given}.items() if p.grad is not None and key in names]


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
