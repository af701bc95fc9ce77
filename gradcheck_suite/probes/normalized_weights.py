"""Normalised weights: what a batch norm makes of the gradient of the layer before it."""

from collections import Counter
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.normalized_weights import NormalizedWeights
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import Running, contraction, cotangents, differentiable, failures, filled, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import differing_bits
from gradcheck_suite.probes.graph import nodes
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
GAIN = 8.0


@dataclass(slots=True)
class _Call:
    """A call of a leaf layer, and the places in the graph of its one input and one output as the call ended."""

    leaf: LeafCall
    entered: Any
    left: Any


@dataclass(slots=True)
class _Pair:
    """A layer and its norm; ``output`` and ``normal`` are the places in the graph where each ended, before any change in place."""

    weight: LeafCall
    norm: LeafCall
    output: Any
    normal: Any


def normalized_weights(subject: Subject, budget: Budget, seed: int) -> NormalizedWeights:
    """One backward pass, and each pair once more with scaled weights (see ``captures.normalized_weights``).

    Raises:
        NotApplicable: no layer is followed by a batch norm alone, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = filled(realise(subject, seed))
    with in_float64(setup) as wide, preserved(wide.model):
        wide.model.zero_grad(set_to_none=True)
        pairs, outputs = _watched(wide)
        if not pairs:
            raise NotApplicable("no dense or convolutional layer is followed by a batch norm in training mode, and by nothing else")
        wanted = [[pair.output, pair.normal, *_module(pair.weight).parameters()] for pair in pairs]
        with failures("backward"):
            value = contraction(outputs, cotangents(outputs, seed))
            pulled = iter(torch.autograd.grad(value, [tensor for tensors in wanted for tensor in tensors], allow_unused=True))
            found = [tuple(islice(pulled, len(tensors))) for tensors in wanted]
        reached = [all(gradient is not None for gradient in gradients) for gradients in found]
        pairs, found = list(compress(pairs, reached)), list(compress(found, reached))
        if not pairs:
            raise NotApplicable("no gradient passes a layer that is followed by a batch norm")
        with failures("a pair of layers alone"):
            rows = [{**_channels(pair, pulled), **_gain(pair, derive(seed, pair.weight.path))}
                    for pair, pulled in zip(pairs, found, strict=True)]
    columns = {name: frozen([row[name] for row in rows], _DTYPES.get(name, "<f8")) for name in rows[0]}
    return NormalizedWeights(weights=tuple(p.weight.path for p in pairs), norms=tuple(p.norm.path for p in pairs), **columns)


_DTYPES = {"biased": "|b1", "output_bits": "<i8", "gradient_bits": "<i8"}


def _module(call: LeafCall) -> Any:
    return call.module


def _watched(setup: Setup) -> tuple[list[_Pair], list[Tensor]]:
    """The pairs of one forward pass in which each layer runs once and feeds its norm alone, and the outputs."""
    calls: list[_Call] = []
    batch, _ = differentiable(setup.batch)

    def keep(call: LeafCall) -> None:
        edges = [_edge(t[0]) if len(t) == 1 and t[0].requires_grad else None for t in (call.inputs, call.outputs)]
        calls.append(_Call(call, *edges))

    with Running(setup.model) as running, LeafWatch(setup.model, keep), failures("forward", running):
        output = setup.model(*batch.args, **batch.kwargs)
    outputs = [tensor for tensor in floating(output) if tensor.requires_grad]
    uses: dict[Any, int] = {}
    for node in nodes(*outputs):
        for following, _ in node.next_functions:
            uses[following] = uses.get(following, 0) + 1
    runs = Counter(id(call.leaf.module) for call in calls)
    pairs = []
    for call in calls:
        module: Any = call.leaf.module
        if not isinstance(module, _NORMS) or not (module.training or module.running_mean is None) or call.entered is None:
            continue
        before = [c for c in calls if isinstance(c.leaf.module, _WEIGHTED) and _same(c.left, call.entered)]
        alone = len(before) == 1 and runs[id(before[0].leaf.module)] == runs[id(module)] == 1 and uses.get(call.entered.node) == 1
        if alone and call.left is not None:
            pairs.append(_Pair(before[0].leaf, call.leaf, call.entered, call.left))
    return [pair for pair in pairs if all(p.requires_grad for p in _module(pair.weight).parameters())], outputs


def _edge(tensor: Tensor) -> Any:
    """The place in the graph; ``None`` inside a custom function, where there is no graph although a tensor may require a gradient."""
    try:
        return get_gradient_edge(tensor)
    except (AssertionError, RuntimeError):
        return None


def _same(left: Any, entered: Any) -> bool:
    """Whether two edges are one place in the graph; edges of custom functions carry a token that equality would compare."""
    return left is not None and (left.node, left.output_nr) == (entered.node, entered.output_nr)


def _by_channel(tensor: Tensor) -> Tensor:
    return tensor.detach().transpose(0, 1).reshape(tensor.shape[1], -1)


def _channels(pair: _Pair, found: tuple[Tensor, ...]) -> dict[str, Any]:
    layer, norm, tiny = _module(pair.weight), _module(pair.norm), 1e-300
    h, upstream = _by_channel(pair.weight.outputs[0]), _by_channel(found[1])
    g = upstream if norm.weight is None else upstream * norm.weight.detach()[:, None]
    parameters = dict(zip([name for name, _ in layer.named_parameters()], found[2:], strict=True))
    mean = h.mean(1)
    s2 = h.var(1, unbiased=False) + norm.eps
    s, offset = s2.sqrt(), 1 + mean.abs() / s2.sqrt()
    hat = (h - mean[:, None]) / s[:, None]
    w, dw = layer.weight.detach().flatten(1), parameters["weight"].flatten(1)
    product, sizes = (w * dw).sum(1), w.norm(dim=1) * dw.norm(dim=1)
    db = parameters.get("bias")
    whole = product if db is None else product + layer.bias.detach() * db
    length = hat.norm(dim=1) + h.shape[1] ** 0.5 * mean.abs() / s  # h - m is rounded in proportion to |m|
    residual = (whole - norm.eps / s2 * (hat * g).sum(1)).abs() / (sizes + length * g.norm(dim=1) + tiny)
    bias = float("nan") if db is None else float((db.abs() / (offset * (g.abs().sum(1) / s) + tiny)).max())
    cosine = product.abs() / (sizes + tiny)
    return {"biased": db is not None, "bias": bias, "radial": float(residual.max()), "cosine": float(cosine.max()),
            "epsilon": float((norm.eps / s2).max())}


def _gain(pair: _Pair, seed: int) -> dict[str, int]:
    layer, norm = _module(pair.weight), _module(pair.norm)
    x = pair.weight.inputs[0].detach()
    cotangent = torch.randn(pair.norm.outputs[0].shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)

    def pull() -> tuple[Tensor, Tensor]:
        output = norm(layer(x))
        (gradient,) = torch.autograd.grad(output, layer.weight, cotangent)
        return output.detach(), gradient

    with preserved(layer), preserved(norm):
        output, gradient = pull()
        norm.eps *= GAIN**2
        for parameter in layer.parameters():
            parameter.data.mul_(GAIN)
        scaled, pulled = pull()
    return {"output_bits": differing_bits(scaled, output), "gradient_bits": differing_bits(GAIN * pulled, gradient)}
