"""Cotangent algebra: a backward pass is linear in its cotangent, exactly so for powers of two."""

import math

import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.cotangent_algebra import CotangentAlgebra
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.evidence import Where
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.numerics.rounding import NOISE_FACTORS, largest, tolerance
from gradcheck_suite.probes.declared import reason
from gradcheck_suite.probes.execution import cotangents, realise
from gradcheck_suite.probes.float64 import in_float32, in_float64
from gradcheck_suite.probes.gradient_rows import Graph, differing_bits, norm
from gradcheck_suite.probes.graph import widest_epsilon
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.unscaled_nodes import ADAPTIVE, unscaled_nodes
from gradcheck_suite.subject import Setup, Subject

EXPONENTS = (3, -2)
Gradients = list[torch.Tensor]


def cotangent_algebra(subject: Subject, budget: Budget, seed: int) -> CotangentAlgebra:
    """Pull several related cotangents back through one graph (see ``captures.cotangent_algebra``).

    Raises:
        SubjectError: the subject could not be built, or a pass raised.
        NotApplicable: nothing can be differentiated, or the graph cannot be used twice.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        graph = Graph.record(setup)
        u, v = cotangents(graph.outputs, derive(seed, "U")), cotangents(graph.outputs, derive(seed, "V"))
        w = [3 * a + b for a, b in zip(u, v, strict=True)]
        of_u, of_v, of_w = graph.pull(u), graph.pull(v), graph.pull(w)
        bits = _bits(graph, u, of_u)
        noise = [0.0] * len(of_u)
        for cotangent, gradients, weight in ((u, of_u, 3.0), (v, of_v, 1.0), (w, of_w, 1.0)):
            noise = _noisiest(noise, _noise(graph, cotangent, gradients, weight))
    residual, scale = _residual(of_u, of_v, of_w)
    limits = [torch.finfo(item.dtype) for item in of_u]
    small = [int(((a != 0) & (a.abs() < 16 * limit.tiny)).sum()) for a, limit in zip(of_u, limits, strict=True)]
    narrowest = widest_epsilon(*graph.outputs)
    epsilon = [max(limit.eps, narrowest) for limit in limits]
    rows = zip(residual, epsilon, scale, noise, strict=True)
    doubtful = any(r > min(tolerance(e, s, n), largest(e) * s) for r, e, s, n in rows)
    other = _in_other_precision(setup, seed, graph.rows.names, max(epsilon)) if doubtful else None
    if any(bits) and max(epsilon) > torch.finfo(torch.float64).eps:
        bits = _wherever(bits, setup, seed, graph.rows.names)
    breaks: list[Where] = []
    if any(bits):
        with preserved(setup.model), torch.enable_grad():
            breaks = unscaled_nodes(setup, derive(seed, "U"), EXPONENTS)
    if breaks and all(place.function in ADAPTIVE for place in breaks):
        bits = [0] * len(bits)
    declared = [reason(setup.intended, place.module, place.function) for place in breaks]
    return CotangentAlgebra(
        rows=graph.rows, exponents=EXPONENTS, breaks=tuple(breaks), intended=declared[0] if declared and all(declared) else "",
        bits=frozen(bits, "<i8"), entries=frozen([item.numel() for item in of_u], "<i8"),
        subnormal=frozen(small, "<i8"), residual=frozen(residual), scale=frozen(scale), noise=frozen(noise), epsilon=frozen(epsilon),
        other_residual=frozen([math.nan] * len(residual) if other is None else other),
    )


def _bits(graph: Graph, u: Gradients, of_u: Gradients) -> list[int]:
    """Bits in which the gradients of the scaled cotangents differ from the scaled gradients."""
    bits = [0] * len(of_u)
    for exponent in EXPONENTS:
        scaled = graph.pull([2.0**exponent * item for item in u])
        bits = [n + differing_bits(a, 2.0**exponent * b) for n, a, b in zip(bits, scaled, of_u, strict=True)]
    return bits


def _wherever(bits: list[int], setup: Setup, seed: int, names: tuple[str, ...]) -> list[int]:
    """The same where float64 shows a difference too: numbers in between may leave float32's range, though the gradient is inside it."""
    try:
        with in_float64(setup) as wide:
            graph = Graph.record(wide)
            if graph.rows.names != names or widest_epsilon(*graph.outputs) > torch.finfo(torch.float64).eps:
                return bits
            u = cotangents(graph.outputs, derive(seed, "U"))
            return [n if other else 0 for n, other in zip(bits, _bits(graph, u, graph.pull(u)), strict=True)]
    except (NotApplicable, SubjectError):
        return bits


def _residual(of_u: Gradients, of_v: Gradients, of_w: Gradients) -> tuple[list[float], list[float]]:
    residual = [norm(c - 3 * a - b) for a, b, c in zip(of_u, of_v, of_w, strict=True)]
    return residual, [3 * norm(a) + norm(b) for a, b in zip(of_u, of_v, strict=True)]


def _in_other_precision(setup: Setup, seed: int, names: tuple[str, ...], epsilon: float) -> list[float] | None:
    """The residuals with the model in float64, or in float32 where float64 is its own; ``None`` where it does not run there."""
    try:
        with (in_float32 if epsilon == torch.finfo(torch.float64).eps else in_float64)(setup) as changed:
            graph = Graph.record(changed)
            if widest_epsilon(*graph.outputs) == epsilon:  # its narrow parts stay as they are
                return None
            u, v = cotangents(graph.outputs, derive(seed, "U")), cotangents(graph.outputs, derive(seed, "V"))
            of_w = graph.pull([3 * a + b for a, b in zip(u, v, strict=True)])
            return _residual(graph.pull(u), graph.pull(v), of_w)[0] if graph.rows.names == names else None
    except (NotApplicable, SubjectError):
        return None


def _noise(graph: Graph, cotangent: Gradients, gradients: Gradients, weight: float) -> list[float]:
    """How far the gradient of kW is from k times that of W, per unit k and weighted as the identity weighs it."""
    worst = [0.0] * len(gradients)
    for factor in NOISE_FACTORS:
        scaled = graph.pull([factor * item for item in cotangent])
        worst = _noisiest(worst, [weight * norm(a - factor * b) / factor for a, b in zip(scaled, gradients, strict=True)])
    return worst


def _noisiest(one: list[float], other: list[float]) -> list[float]:
    return [max(pair) for pair in zip(one, other, strict=True)]
