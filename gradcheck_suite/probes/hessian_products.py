"""Hessian products: second derivatives, taken by differentiating the backward pass, must be symmetric."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcheck_suite.captures.hessian_products import HessianProducts
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.numerics.rounding import NOISE_FACTORS, tolerance
from gradcheck_suite.probes.asymmetry import asymmetric_module
from gradcheck_suite.probes.declared import reason_within
from gradcheck_suite.probes.execution import cotangents, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import Graph, norm, products
from gradcheck_suite.probes.graph import nodes, widest_epsilon
from gradcheck_suite.subject import Subject

Tensor = torch.Tensor


def hessian_products(subject: Subject, budget: Budget, seed: int) -> HessianProducts:
    """Two products in float64 (see ``captures.hessian_products``).

    Raises:
        NotApplicable: the gradient has no second derivative here, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, sdpa_kernel([SDPBackend.MATH]):
        graph = Graph.record(wide)
        variables = [tensor for tensor, role in zip(graph.tensors, graph.rows.roles, strict=True) if role != "layer"]
        directions = cotangents(graph.outputs, seed)
        value = torch.stack([(u * y.square()).sum() for u, y in zip(directions, graph.outputs, strict=True) if not y.is_complex()]).sum()
        generator = torch.Generator().manual_seed(derive(seed, "direction"))
        v1, v2 = ([torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in variables] for _ in range(2))
        try:
            gradient = torch.autograd.grad(value, variables, create_graph=True, allow_unused=True)
            reached = [(g, x, a, b) for g, x, a, b in zip(gradient, variables, v1, v2, strict=True) if g is not None and g.requires_grad]
            if not reached:
                raise NotApplicable("the gradient does not depend on anything that could be differentiated again")
            if any(node.name() == "torch::autograd::Error" for node in nodes(*(row[0] for row in reached))):
                raise NotApplicable("no second derivative: a function is marked as differentiable once")
            epsilon = widest_epsilon(*graph.outputs, *(row[0] for row in reached))
            h1, h2 = (_product([(row[0], row[k]) for row in reached], variables) for k in (2, 3))
            scaled = [(k, _product([(row[0], k * row[3]) for row in reached], variables)) for k in NOISE_FACTORS]
        except RuntimeError as error:
            raise NotApplicable(f"no second derivative: {str(error)[:120]}") from None
        first, second = _inner(v1, h2), _inner(v2, h1)
        sizes = [sum(norm(t) ** 2 for t in group) ** 0.5 for group in (v1, v2, h1, h2)]
        scale = sizes[0] * sizes[3] + sizes[1] * sizes[2]
        noise = max(abs(_inner(v1, h) / k - first) for k, h in scaled)
        doubtful = abs(first - second) > tolerance(epsilon, scale, noise, units=256.0)
        declared = reason_within(wide, *graph.outputs) if doubtful else ""
        if declared:
            raise NotApplicable(f"the second derivative is not symmetric, and a mismatch is declared: {declared}")
        found = asymmetric_module(wide, seed) if doubtful else None
    return HessianProducts(
        first=first, second=second, scale=scale, noise=noise, epsilon=epsilon, module=found.module if found else "",
        kind=found.kind if found else "", alone=found.asymmetry if found else 0.0,
    )


def _product(pairs: list[tuple[Tensor, Tensor]], variables: list[Tensor]) -> list[Tensor]:
    along = torch.stack([(g * v).sum() for g, v in pairs]).sum()
    found = torch.autograd.grad(along, variables, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if h is None else h.to_dense() for x, h in zip(variables, found, strict=True)]


def _inner(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float(products(a, b).sum()) for a, b in zip(one, other, strict=True))
