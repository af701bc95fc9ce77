"""Pooling calls: what pooling layers with disjoint windows do to the norm of a gradient."""

import math
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.pooling_calls import PoolingCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import Running, failures, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE_MAXIMA = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
_ADAPTIVE = (*_ADAPTIVE_MAXIMA, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


def pooling_calls(subject: Subject, budget: Budget, seed: int) -> PoolingCalls:
    """Run each pooling layer whose windows neither overlap nor reach over the edge by itself (see ``captures.pooling_calls``).

    Raises:
        NotApplicable: no such layer ran, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    found: dict[str, tuple[nn.Module, torch.Tensor, int]] = {}

    def keep(call: LeafCall) -> None:
        if call.module is not None and call.path not in found and len(call.inputs) == 1 and len(call.outputs) == 1:
            window = _window(call.module, call.inputs[0].shape, call.outputs[0].shape)
            if window:
                found[call.path] = call.module, call.inputs[0].detach().clone(), window

    with in_float64(setup) as wide:
        with Running(wide.model) as running, LeafWatch(wide.model, keep), failures("forward", running), preserved(wide.model):
            wide.model(*wide.batch.args, **wide.batch.kwargs)
        if not found:
            raise NotApplicable("no pooling layer with disjoint windows ran")
        with preserved(wide.model), failures("a pooling layer alone"):
            ratios = [_ratio(module, x, derive(seed, path)) for path, (module, x, _) in found.items()]
    means = [not _is_maximum(module) for module, _, _ in found.values()]
    windows = [window for _, _, window in found.values()]
    return PoolingCalls(
        paths=tuple(found), kinds=tuple(type(module).__name__ for module, _, _ in found.values()), window=frozen(windows, "<i8"),
        ratio=frozen(ratios), expected=frozen([1 / math.sqrt(w) if mean else 1.0 for w, mean in zip(windows, means, strict=True)]),
    )


def _is_maximum(module: nn.Module) -> bool:
    return isinstance(module, _MAXIMA + _ADAPTIVE_MAXIMA)


def _window(module: Any, before: torch.Size, after: torch.Size) -> int:
    """Positions in a window, 0 where the windows overlap, are dilated or reach over an edge, or for any other module."""
    if isinstance(module, _ADAPTIVE):
        axes = _axes(module)
        whole = all(a % b == 0 for a, b in zip(before[-axes:], after[-axes:], strict=True))
        return math.prod(a // b for a, b in zip(before[-axes:], after[-axes:], strict=True)) if whole else 0
    if not isinstance(module, _MAXIMA + _MEANS):
        return 0
    axes = _axes(module)
    kernel, stride, padding, dilation = (_each(getattr(module, name, 1), axes) for name in ("kernel_size", "stride", "padding", "dilation"))
    plain = kernel == stride and not any(padding) and set(dilation) <= {1} and not module.ceil_mode
    plain = plain and not getattr(module, "return_indices", False) and not getattr(module, "divisor_override", None)
    return math.prod(kernel) if plain else 0


def _axes(module: nn.Module) -> int:
    groups = ((*_MAXIMA, *_MEANS, *_ADAPTIVE)[axis::3] for axis in range(3))
    return next(axis + 1 for axis, group in enumerate(groups) if isinstance(module, tuple(group)))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (int(value),) * axes


def _ratio(module: nn.Module, x: torch.Tensor, seed: int) -> float:
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    (gradient,) = torch.autograd.grad(output, leaf, cotangent)
    # sums are added up in a cascade, whose error does not grow with their length as that of ``norm`` does
    return math.sqrt(float(gradient.square().sum()) / float(cotangent.square().sum()))
