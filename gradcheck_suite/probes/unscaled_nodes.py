"""The nodes of a graph that receive a gradient times a power of two and do not pass on the same multiple of what they passed before."""

from collections.abc import Callable
from typing import Any, Final

import torch

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.evidence import Where
from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source
from gradcheck_suite.probes.execution import cotangents
from gradcheck_suite.probes.gradient_rows import Graph, differing_bits
from gradcheck_suite.probes.graph import Authors, Node, custom_function, name_of, nodes
from gradcheck_suite.subject import Setup

ADAPTIVE: Final = frozenset({"linalg_matrix_exp"})
"""Operations whose backward pass chooses its method by the size of the cotangent: that of the matrix exponential is the exponential of
a block matrix that holds it, with degree and scaling by its norm (Al-Mohy and Higham 2009, SIAM J. Matrix Anal. Appl. 30(4), section 4)."""

Passed = tuple[list[torch.Tensor | None], list[torch.Tensor | None]]


def unscaled_nodes(setup: Setup, seed: int, exponents: tuple[int, ...]) -> list[Where]:
    """The place of every such node, nearest to the output first; empty where none can be told. Its function is the operation's name.

    Args:
        setup: the model and its batch; run once more.
        seed: of the cotangent.
        exponents: powers k; the multiples are 2^k.
    """
    try:
        with Authors(setup.model) as authors:
            graph = Graph.record(setup)
        u = cotangents(graph.outputs, seed)
        before = _passed(graph, u)
        found: dict[Where, None] = {}
        for exponent in exponents:
            after = _passed(graph, [2.0**exponent * item for item in u])
            for node in nodes(*graph.outputs):
                if node in before and node in after and _breaks(before[node], after[node], 2.0**exponent):
                    found[_where(node, authors)] = None
        return list(found)
    except (NotApplicable, SubjectError):
        return []


def _passed(graph: Graph, u: list[torch.Tensor]) -> dict[Node, Passed]:
    """What each node received and passed on."""
    seen: dict[Node, Passed] = {}

    def keep(node: Node) -> Callable[[Any, Any], None]:
        def note(passed: Any, received: Any) -> None:
            seen[node] = (_copied(received), _copied(passed))
        return note

    handles = [node.register_hook(keep(node)) for node in nodes(*graph.outputs) if not hasattr(node, "variable")]
    try:
        graph.pull(u)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _copied(gradients: Any) -> list[torch.Tensor | None]:
    return [None if gradient is None else gradient.detach().clone() for gradient in gradients]


def _breaks(before: Passed, after: Passed, factor: float) -> bool:
    received, passed = (all(map(lambda a, b: _scaled(a, b, factor), *pair)) for pair in zip(before, after, strict=True))
    return received and not passed


def _scaled(before: torch.Tensor | None, after: torch.Tensor | None, factor: float) -> bool:
    if before is None or after is None:
        return before is after
    return before.shape == after.shape and differing_bits(after, factor * before) == 0


def _where(node: Node, authors: Authors) -> Where:
    function = custom_function(node)
    if function is None:
        return Where(module=authors.of(node), function=name_of(node))
    return Where(module=authors.of(node), function=function_name(function), source=function_source(function))
