"""Adjoint products: forward mode and backward pass must be transposes of each other."""

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
from gradcheck_suite.probes.execution import cotangents, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import Graph, products
from gradcheck_suite.probes.graph import leaves, widest_epsilon
from gradcheck_suite.probes.nested import replaced
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
make_dual: Callable[..., Any] = forward_ad.make_dual
unpack_dual: Callable[..., Any] = forward_ad.unpack_dual


def adjoint_products(subject: Subject, budget: Budget, seed: int) -> AdjointProducts:
    """Both products in float64 (see ``captures.adjoint_products``).

    Raises:
        NotApplicable: some operation of the model has no forward-mode derivative, or the model does not run in float64.
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
        tangents = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for *_, tensor in chosen]
        with preserved(wide.model):
            pushed = _push(wide, chosen, tangents, len(u))
    forward = [products(a, b) for a, b in zip(u, pushed, strict=True)]
    backward = [products(gradients[index], t) for index, t in zip(kept, tangents, strict=True)]
    product = sum(float(p.sum()) for p in backward)
    others = [sum(float(products(g[index], t).sum()) for index, t in zip(kept, tangents, strict=True)) / k for k, g in scaled]
    return AdjointProducts(
        forward=sum(float(p.sum()) for p in forward), backward=product, noise=max(abs(other - product) for other in others),
        scale=sum(float(p.abs().sum()) for p in (*forward, *backward)), epsilon=widest_epsilon(*graph.outputs), tensors=len(chosen),
    )


def _push(setup: Setup, chosen: list[tuple[str, str, Tensor]], tangents: list[Tensor], outputs: int) -> list[Tensor]:
    """Tangents of the outputs that the backward pass starts from."""
    with forward_ad.dual_level():
        dual = {name: make_dual(tensor.detach(), tangent) for (name, _, tensor), tangent in zip(chosen, tangents, strict=True)}
        inputs = [dual[name] for name, role, _ in chosen if role == "input"]
        parameters = {name: dual[name] for name, role, _ in chosen if role == "parameter"}
        args, kwargs = replaced((tuple(setup.batch.args), dict(setup.batch.kwargs)), inputs)
        try:
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
    return pushed
