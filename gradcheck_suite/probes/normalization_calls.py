"""Normalisation calls: exact identities of every normalisation layer, at the input that the model gives it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.normalization_calls import NormalizationCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import Running, failures, filled, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import differing_bits
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

EXPONENT = 3
Tensor = torch.Tensor
Grouping = Callable[[Tensor], Tensor]


def normalization_calls(subject: Subject, budget: Budget, seed: int) -> NormalizationCalls:
    """Run each normalisation layer by itself (see ``captures.normalization_calls``). Batch and instance norm count while they use the
    statistics of the batch.

    Raises:
        NotApplicable: no such layer ran, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = filled(realise(subject, seed))
    found: dict[str, tuple[nn.Module, Tensor]] = {}

    def keep(call: LeafCall) -> None:
        alone = call.module is not None and len(call.inputs) == 1 and call.path not in found
        if alone and call.module is not None and _grouping(call.module, call.inputs[0]) is not None and _stock(call):
            found[call.path] = call.module, call.inputs[0].detach().clone()

    with in_float64(setup) as wide:
        with Running(wide.model) as running, LeafWatch(wide.model, keep), failures("forward", running), preserved(wide.model):
            wide.model(*wide.batch.args, **wide.batch.kwargs)
        if not found:
            raise NotApplicable("no normalisation layer ran on statistics of its input")
        with preserved(wide.model), failures("a normalisation layer alone"):
            rows = [_identities(module, x, derive(seed, path)) for path, (module, x) in found.items()]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return NormalizationCalls(
        paths=tuple(found), kinds=tuple(type(module).__name__ for module, _ in found.values()),
        **{name: frozen(values, _DTYPES.get(name, "<f8")) for name, values in columns.items()},
    )


_DTYPES = {"centred": "|b1", "groups": "<i8", "output_bits": "<i8", "gradient_bits": "<i8"}


_LAYERS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.BatchNorm1d, nn.BatchNorm2d,
           nn.BatchNorm3d)


def _stock(call: LeafCall) -> bool:
    """Whether the call computed what PyTorch's own layer does: a subclass may normalise over other axes, or do more besides."""
    module, (x,) = call.module, call.inputs
    base: Any = next(kind for kind in _LAYERS if isinstance(module, kind))
    if getattr(type(module), "forward", None) is base.forward:
        return True
    try:
        with torch.no_grad():
            return len(call.outputs) == 1 and torch.allclose(base.forward(module, x), call.outputs[0], rtol=1e-10, atol=1e-12)
    except RuntimeError:
        return False


def _grouping(module: nn.Module, x: Tensor) -> Grouping | None:
    """How an input is laid out as (groups, members), ``None`` for a module that does not normalise by its input."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        members = int(np.prod(module.normalized_shape))
        return lambda t: t.reshape(-1, members)
    if isinstance(module, nn.GroupNorm):
        return lambda t: t.reshape(t.shape[0] * module.num_groups, -1)
    if isinstance(module, nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d):
        batched = x.dim() == {nn.InstanceNorm1d: 3, nn.InstanceNorm2d: 4}.get(type(module), 5)
        by_input = module.training or not module.track_running_stats
        return (lambda t: t.reshape(t.shape[0] * t.shape[1], -1)) if batched and by_input else None
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        by_input = module.training or module.running_mean is None
        return (lambda t: t.transpose(0, 1).reshape(t.shape[1], -1)) if by_input else None
    return None


def _identities(module: Any, x: Tensor, seed: int) -> dict[str, Any]:
    group = _grouping(module, x)
    assert group is not None
    cotangent = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
    output, gradient = _pull(module, x, cotangent, eps)
    scaled, pulled = _pull(module, 2.0**EXPONENT * x, cotangent, 4.0**EXPONENT * eps)
    weight = getattr(module, "weight", None)
    shape = [1] * x.dim()
    if weight is not None and not isinstance(module, nn.LayerNorm | nn.RMSNorm):
        shape[1] = -1
    upstream = cotangent if weight is None else cotangent * (weight.detach() if shape.count(-1) == 0 else weight.detach().reshape(shape))
    centred = not isinstance(module, nn.RMSNorm)
    return {"output_bits": differing_bits(scaled, output), "gradient_bits": differing_bits(2.0**EXPONENT * pulled, gradient),
            "centred": centred, **_by_group(group(x), group(upstream), group(gradient), eps, centred)}


def _pull(module: Any, x: Tensor, cotangent: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    module.eps = eps
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    (gradient,) = torch.autograd.grad(output, leaf, cotangent)
    return output.detach(), gradient


def _by_group(x: Tensor, g: Tensor, gradient: Tensor, eps: float, centred: bool) -> dict[str, Any]:
    mean = x.mean(1, keepdim=True) if centred else torch.zeros(len(x), 1, dtype=x.dtype)
    deviation = x - mean
    s2 = deviation.square().mean(1, keepdim=True) + eps
    s = s2.sqrt()
    offset = 1 + mean.abs() / s
    hat = deviation / s
    sizes = g.norm(dim=1, keepdim=True)
    residual = (deviation * gradient).sum(1, keepdim=True) - eps / s2 * (hat * g).sum(1, keepdim=True)
    tiny = torch.finfo(x.dtype).tiny
    # x - m is rounded in proportion to |m|, however small the deviations are beside epsilon
    length = hat.norm(dim=1, keepdim=True) + x.shape[1] ** 0.5 * mean.abs() / s
    euler = residual.abs() / (length * sizes + tiny)
    total = gradient.sum(1, keepdim=True).abs() / (offset * g.abs().sum(1, keepdim=True) / s + tiny)
    contraction = gradient.norm(dim=1, keepdim=True) * s / (sizes + tiny)
    return {"groups": len(x), "euler": float(euler.max()), "radial": float((eps / s2).max()), "offset": float(offset.max()),
            "total": float(total.max()) if centred else float("nan"), "contraction": float(contraction.max())}
