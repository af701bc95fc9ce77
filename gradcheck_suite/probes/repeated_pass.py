"""Repeated pass: does the same computation give the same bits."""

import math

import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.repeated_pass import RepeatedPass
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.execution import failures, objective, realise
from gradcheck_suite.probes.gradient_rows import Graph, differing_bits
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Gradients = list[torch.Tensor]


def repeated_pass(subject: Subject, budget: Budget, seed: int) -> RepeatedPass:
    """Run forward and backward twice from one state (see ``captures.repeated_pass.RepeatedPass``).

    Raises:
        SubjectError: the subject could not be built, a pass raised, or the second pass gave outputs of other shapes.
        NotApplicable: nothing can be differentiated, or the layers that run change from one pass to the next.
    """
    setup = realise(subject, seed)
    with preserved(setup.model) as guard, torch.enable_grad():
        one, gradients, repeats = _first(setup, seed)
        guard.rewind()
        other, repeated = _run(setup, seed)
    first, second = ([tuple(tensor.shape) for tensor in graph.outputs] for graph in (one, other))
    if first != second:
        raise SubjectError(f"the outputs change from one pass to the next, from the same state: {_shapes(first)}, then {_shapes(second)}",
                           stage="forward")
    shapes = [[tensor.shape for tensor in graph.tensors] for graph in (one, other)]
    if one.rows.names != other.rows.names or shapes[0] != shapes[1]:
        raise NotApplicable("the layers that run change from one pass to the next")
    pairs = [_difference(a, b) for a, b in zip(gradients, repeated, strict=True)]
    forward = [differing_bits(a.detach(), b.detach()) if role == "layer" else 0
               for role, a, b in zip(one.rows.roles, one.tensors, other.tensors, strict=True)]
    return RepeatedPass(
        rows=one.rows, output_bits=sum(differing_bits(a.detach(), b.detach()) for a, b in zip(one.outputs, other.outputs, strict=True)),
        forward_bits=frozen(forward, "<i8"), bits=frozen([bits for bits, _ in pairs], "<i8"), relative=frozen([size for _, size in pairs]),
        again_bits=frozen([bits for bits, _ in repeats], "<i8"), again_relative=frozen([size for _, size in repeats]),
        epsilon=frozen([torch.finfo(tensor.dtype).eps for tensor in one.tensors]), training=setup.model.training,
    )


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return f"{len(shapes)} output{'s' if len(shapes) != 1 else ''} of shape {', '.join(map(str, shapes[:3]))}"


def _first(setup: Setup, seed: int) -> tuple[Graph, Gradients, list[tuple[int, float]]]:
    """A pass, its gradients, and how those of a second backward pass through the same graph differ; these are not kept."""
    graph = Graph.record(setup)
    value = objective(setup, graph.returned, seed)
    with failures("backward"):
        gradients = graph.gradients([value])
    try:
        again = graph.gradients([value])
    except RuntimeError:  # a graph for one use
        return graph, gradients, [(0, 0.0)] * len(gradients)
    return graph, gradients, [_difference(a, b) for a, b in zip(gradients, again, strict=True)]


def _run(setup: Setup, seed: int) -> tuple[Graph, Gradients]:
    """A pass and its gradients."""
    graph = Graph.record(setup)
    value = objective(setup, graph.returned, seed)
    with failures("backward"):
        return graph, graph.gradients([value])


def _difference(one: torch.Tensor, other: torch.Tensor) -> tuple[int, float]:
    """Differing bits, and the largest difference over the root mean square."""
    bits = 0 if torch.equal(one, other) else differing_bits(one, other)
    if bits == 0:
        return 0, 0.0
    size = float(torch.linalg.vector_norm(one.double() if not one.is_complex() else one)) / max(1, one.numel()) ** 0.5
    return bits, float((one - other).abs().max()) / size if size > 0 else math.inf
