"""Adjoint products: forward mode and backward pass must be transposes of each other."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcheck_suite.captures.adjoint_products import AdjointProducts
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.numerics.rounding import NOISE_FACTORS
from gradcheck_suite.probes.declared import reason_within
from gradcheck_suite.probes.directional_derivative.units import spare_padding
from gradcheck_suite.probes.execution import cotangents, failures, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.forward_stops import TangentsStopped
from gradcheck_suite.probes.gradient_rows import Graph, products
from gradcheck_suite.probes.graph import leaves, widest_epsilon
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_AGREE, _STEP = 1e-10, 1e-6
make_dual: Callable[..., Any] = forward_ad.make_dual
unpack_dual: Callable[..., Any] = forward_ad.unpack_dual


def adjoint_products(subject: Subject, budget: Budget, seed: int) -> AdjointProducts:
    """Both products in float64 (see ``captures.adjoint_products``).

    Raises:
        NotApplicable: some operation of the model has no forward-mode derivative, or the model does not run in float64; or the products
            differ where a mismatch is declared, or where a gradient is stopped in a way that forward mode ignores.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, sdpa_kernel([SDPBackend.MATH]):
        with preserved(wide.model):
            graph = Graph.record(wide)
            u = cotangents(graph.outputs, seed)
            gradients = graph.pull(u)
            scaled = [(factor, graph.pull([factor * item for item in u])) for factor in NOISE_FACTORS]
        kept = [index for index, role in enumerate(graph.rows.roles) if role != "layer"]
        chosen = [(graph.rows.names[index], graph.rows.roles[index], graph.tensors[index]) for index in kept]
        generator = torch.Generator().manual_seed(derive(seed, "tangent"))
        tangents = _spared(wide, [tensor for *_, tensor in chosen],
                           [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for *_, tensor in chosen])
        with preserved(wide.model):
            pushed, ignored = _push(wide, chosen, tangents, len(u))
        terms = ([products(a, b) for a, b in zip(u, pushed, strict=True)],
                 [products(gradients[index], t) for index, t in zip(kept, tangents, strict=True)])
        forward, backward = (sum(float(p.sum()) for p in side) for side in terms)
        scale = sum(float(p.abs().sum()) for side in terms for p in side)
        doubtful = abs(forward - backward) > _AGREE * scale
        if doubtful:
            _judgeable(wide, graph, ignored)
        difference, bend = _difference(wide, chosen, tangents, u) if doubtful else (math.nan, 0.0)
    others = [sum(float(products(g[index], t).sum()) for index, t in zip(kept, tangents, strict=True)) / k for k, g in scaled]
    return AdjointProducts(
        forward=forward, backward=backward, difference=difference, bend=bend, scale=scale,
        noise=max(abs(other - backward) for other in others), epsilon=widest_epsilon(*graph.outputs), tensors=len(chosen),
    )


def _judgeable(setup: Setup, graph: Graph, ignored: str) -> None:
    declared = reason_within(setup, *graph.outputs)
    if declared:
        raise NotApplicable(f"forward mode and backward pass differ, and a mismatch is declared: {declared}")
    if ignored:
        raise NotApplicable(f"forward mode and backward pass differ, but forward mode does not know of {ignored}")


def _spared(setup: Setup, tensors: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    """The tangents with zeros where PyTorch defines the gradient away: padding rows of embeddings."""
    masks: dict[int, Tensor] = {}
    for module in setup.model.modules():
        spare_padding(module, tensors, masks)
    return [tangent.masked_fill(masks[index], 0.0) if index in masks else tangent for index, tangent in enumerate(tangents)]


def _difference(setup: Setup, chosen: list[tuple[str, str, Tensor]], tangents: list[Tensor], u: list[Tensor]) -> tuple[float, float]:
    """The central difference of <u, f> along the tangents, in float64, and by how much the slopes on both sides differ, entry by entry."""
    values = []
    for step in (_STEP, 0.0, -_STEP):
        moved = {name: tensor.detach() + step * tangent for (name, _, tensor), tangent in zip(chosen, tangents, strict=True)}
        parameters = {name: moved[name] for name, role, _ in chosen if role == "parameter"}
        inputs = [moved[name] for name, role, _ in chosen if role == "input"]
        args, kwargs = replaced((tuple(setup.batch.args), dict(setup.batch.kwargs)), inputs)
        with preserved(setup.model), failures("forward"):
            output = floating(functional_call(setup.model, parameters, args, kwargs, tie_weights=True))
        values.append(torch.cat([products(a, b.detach()).reshape(-1) for a, b in zip(u, output, strict=False)]))
    above, here, below = values
    return float((above - below).sum()) / (2 * _STEP), float((above - 2 * here + below).abs().sum()) / _STEP


def _push(setup: Setup, chosen: list[tuple[str, str, Tensor]], tangents: list[Tensor], outputs: int) -> tuple[list[Tensor], str]:
    """Tangents of the outputs that the backward pass starts from, and a stop that they went through all the same, or ``""``."""
    with forward_ad.dual_level():
        dual = {name: make_dual(tensor.detach(), tangent) for (name, _, tensor), tangent in zip(chosen, tangents, strict=True)}
        inputs = [dual[name] for name, role, _ in chosen if role == "input"]
        parameters = {name: dual[name] for name, role, _ in chosen if role == "parameter"}
        args, kwargs = replaced((tuple(setup.batch.args), dict(setup.batch.kwargs)), inputs)
        try:
            with TangentsStopped() as stops:
                output = functional_call(setup.model, parameters, args, kwargs, tie_weights=True)
        except (RuntimeError, NotImplementedError) as error:
            raise NotApplicable(f"no forward-mode derivative: {str(error)[:120]}") from None
        pairs = [unpack_dual(tensor) for tensor in floating(output)]
        own = {id(parameter) for parameter in setup.model.parameters()}
        if any(id(leaf) in own for leaf in leaves(*(pair.primal for pair in pairs))):
            raise NotApplicable("the model reads parameters from copies of its own references, where no tangent reaches them")
        pushed = [pair.tangent for pair in pairs if pair.tangent is not None]
    if len(pushed) != outputs:
        raise NotApplicable("forward mode and backward pass do not reach the same outputs")
    return pushed, stops.ignored
