"""Homogeneity: networks of rectifiers without biases commute with positive scaling, and with powers of two bit for bit."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.homogeneity import Homogeneity
from gradcheck_suite.captures.structure import Structure, Unit
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import cotangents, realise
from gradcheck_suite.probes.gradient_rows import Graph, differing_bits
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.structure import structure
from gradcheck_suite.subject import Batch, Setup, Subject

KINDS = {"dense", "conv1d", "conv2d", "relu", "leaky_relu", "prelu", "identity", "flatten", "max_pool", "avg_pool"}
FACTOR = 4.0


def homogeneity(subject: Subject, budget: Budget, seed: int) -> Homogeneity:
    """Scale the input by 4, and neurons by random powers of two (see ``captures.homogeneity``).

    Raises:
        NotApplicable: the model is no chain of positively homogeneous layers without biases.
        SubjectError: the subject failed.
    """
    chain = _homogeneous(structure(subject, budget, seed))
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        before = _record(setup, setup.batch)
        u = cotangents(before.outputs, seed)
        plain = before.pull(u)
        scaled = _record(setup, Batch(mapped(tuple(setup.batch.args), _times_four), setup.batch.kwargs))
        moved = scaled.pull(u)
        factors = [1.0 if role != "parameter" or name.endswith("bias") else FACTOR for name, role in _named(before)]
        bits = [differing_bits(a, factor * b) for a, factor, b in zip(moved, factors, plain, strict=True)]
        gains = _rescale(setup.model, chain, seed)
        after = _record(setup, setup.batch)
        new = after.pull(u)
    weights = [role == "parameter" and tensor.dim() > 1 for (_, role), tensor in zip(_named(before), plain, strict=True)]
    products = [w.detach().double() * g.double() for w, g in zip(before.tensors, plain, strict=True)]
    answers = [float((y.detach().double() * v.double()).abs().sum()) for y, v in zip(before.outputs, u, strict=True)]
    return Homogeneity(
        rows=before.rows, output_bits=_bits(scaled.outputs, [FACTOR * y for y in before.outputs]), bits=frozen(bits, "<i8"),
        rescaled=len(gains) // 2, rescaled_output_bits=_bits(after.outputs, before.outputs),
        rescaled_bits=frozen([_rescaled_bits(*row, gains) for row in zip(before.rows.names, new, plain, strict=True)], "<i8"),
        weights=frozen(weights, "|b1"), euler=frozen([float(p.sum()) if w else 0.0 for p, w in zip(products, weights, strict=True)]),
        euler_scale=frozen([float(p.abs().sum()) + sum(answers) for p in products]),
        contraction=sum(float((y.detach().double() * v.double()).sum()) for y, v in zip(before.outputs, u, strict=True)),
        epsilon=torch.finfo(before.outputs[0].dtype).eps,
    )


def _homogeneous(seen: Structure) -> Sequence[Unit]:
    if seen.outside:
        raise NotApplicable(f"not a plain chain of layers: {seen.outside}")
    for unit in seen.chain:
        place = f"module {unit.path}" if unit.path else "the model"
        if unit.kind not in KINDS:
            raise NotApplicable(f"{place} is a {unit.kind}, which does not commute with scaling")
        if unit.bias == "nonzero":
            raise NotApplicable(f"{place} has a bias")
    if not any(unit.weighted for unit in seen.chain):
        raise NotApplicable("the chain has no weights")
    return seen.chain


def _record(setup: Setup, batch: Batch) -> Graph:
    with preserved(setup.model):
        return Graph.record(setup, batch)


def _named(graph: Graph) -> list[tuple[str, str]]:
    return list(zip(graph.rows.names, graph.rows.roles, strict=True))


def _times_four(tensor: torch.Tensor) -> torch.Tensor:
    return FACTOR * tensor if tensor.is_floating_point() else tensor


def _bits(one: list[torch.Tensor], other: list[torch.Tensor]) -> int:
    return sum(differing_bits(a.detach(), b.detach()) for a, b in zip(one, other, strict=True))


def _rescale(model: nn.Module, chain: Sequence[Unit], seed: int) -> dict[str, torch.Tensor]:
    """Multiply each neuron's incoming weights by a power of two and divide its outgoing ones; factors by parameter name.

    Only between matrices of the same kind that nothing but activations and pools separates.
    """
    generator = torch.Generator().manual_seed(derive(seed, "gains"))
    gains: dict[str, torch.Tensor] = {}
    weighted = [index for index, unit in enumerate(chain) if unit.weighted]
    for start, end in itertools.pairwise(weighted):
        first, second = chain[start], chain[end]
        ungrouped = dict(second.settings).get("groups", 1) == 1
        if first.kind != second.kind or not ungrouped or any(unit.kind == "flatten" for unit in chain[start:end]):
            continue
        one, two = (model.get_submodule(unit.path) for unit in (first, second))
        assert isinstance(one.weight, torch.Tensor)
        assert isinstance(two.weight, torch.Tensor)
        gain = 2.0 ** torch.randint(-3, 4, (one.weight.shape[0],), generator=generator).to(one.weight)
        rows = gain.reshape(-1, *[1] * (one.weight.dim() - 1))
        columns = gain.reshape(1, -1, *[1] * (two.weight.dim() - 2))
        one.weight.data.mul_(rows)
        two.weight.data.div_(columns)
        for name, factor in ((first.path, rows), (second.path, 1 / columns)):
            key = f"{name}.weight" if name else "weight"
            gains[key] = gains[key] * factor if key in gains else factor
        gains[f"{first.path}.bias" if first.path else "bias"] = gain
    return gains


def _rescaled_bits(name: str, new: torch.Tensor, old: torch.Tensor, gains: dict[str, torch.Tensor]) -> int:
    return differing_bits(new * gains[name], old) if name in gains else 0
