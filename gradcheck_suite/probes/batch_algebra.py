"""Batch algebra: the gradient of a batch is the sum of those of its samples, in whatever order they come."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from gradcheck_suite.captures.batch_algebra import BatchAlgebra
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.numerics.rounding import NOISE_FACTORS
from gradcheck_suite.probes.execution import cotangents, floating, realise, tensors
from gradcheck_suite.probes.experiment import samples_in
from gradcheck_suite.probes.float64 import in_float32, in_float64
from gradcheck_suite.probes.gradient_rows import Graph, norm
from gradcheck_suite.probes.graph import widest_epsilon
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup, Subject

MOST = 6
EPSILON = torch.finfo(torch.float64).eps
Gradients = list[torch.Tensor]


def batch_algebra(subject: Subject, budget: Budget, seed: int) -> BatchAlgebra:
    """Run a batch of at most six samples whole, sample by sample and permuted (see ``captures.batch_algebra``).

    Raises:
        SubjectError: the subject could not be built, or a pass raised.
        NotApplicable: the outputs have no sample axis, there is one sample only, an input relates the samples to each other, or the
            model does not run in float64 or not on a part of its batch, or not through the same layers.
    """
    setup = realise(subject, seed)
    with in_float64(setup, evaluation=True) as wide:
        seen = _measured(wide, seed)
    if seen.epsilon > EPSILON:  # narrow parts: float32 would show nothing that float64 does not
        return seen
    doubtful = [(seen.residual, seen.scale), (seen.permuted_residual, seen.permuted_scale)]
    if not any(bool((residual > 32 * EPSILON * scale).any()) for residual, scale in doubtful):
        return seen
    with in_float64(setup, evaluation=True) as wide:
        again = _measured(wide, seed, contiguous=True)
    if again.rows.names == seen.rows.names:
        seen = replace(seen, contiguous_residual=again.residual)
    try:
        with in_float32(setup, evaluation=True) as narrow:
            other = _measured(narrow, seed)
    except (NotApplicable, SubjectError):
        return seen
    same = other.rows.names == seen.rows.names
    return replace(seen, other_residual=other.residual, other_permuted_residual=other.permuted_residual) if same else seen


def _measured(setup: Setup, seed: int, contiguous: bool = False) -> BatchAlgebra:
    count = _samples(setup)
    chosen = list(range(min(count, MOST)))
    whole = _record(setup, _pick(setup.batch, count, chosen), contiguous)
    u = cotangents(whole.outputs, derive(seed, "batch"))
    gradients = whole.pull(u)
    noise = [0.0] * len(gradients)
    for factor in NOISE_FACTORS:
        scaled = whole.pull([factor * item for item in u])
        noise = [max(n, norm(a - factor * b) / factor) for n, a, b in zip(noise, scaled, gradients, strict=True)]
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(derive(seed, "order"))).tolist()
    shuffled = _record(setup, _pick(setup.batch, count, order), contiguous)
    if shuffled.rows.names != whole.rows.names:
        raise NotApplicable("which layers run, and how often, depends on the order of the samples")
    permuted_gap = max(_gap(a[order], b) for a, b in zip(whole.outputs, shuffled.outputs, strict=True))
    permuted = shuffled.pull([item[order] for item in u])
    singles, gap = [], 0.0
    for index in chosen:
        graph = _record(setup, _pick(setup.batch, count, [index]), contiguous)
        if graph.rows.names != whole.rows.names:
            raise NotApplicable("which layers run, and how often, depends on the samples in the batch")
        gap = max([gap, *(_gap(a[index : index + 1], b) for a, b in zip(whole.outputs, graph.outputs, strict=True))])
        singles.append(graph.pull([item[index : index + 1] for item in u]))
    summed = [_against_samples(role, g, [one[row] for one in singles])
              for row, (role, g) in enumerate(zip(whole.rows.roles, gradients, strict=True))]
    judged = [role == "parameter" or (p.shape == g.shape and _by_sample(g, [one[row] for one in singles]))
              for row, (role, p, g) in enumerate(zip(whole.rows.roles, permuted, gradients, strict=True))]
    moved = [norm(_reordered(role, p, g, order) - g) if is_judged else 0.0
             for role, p, g, is_judged in zip(whole.rows.roles, permuted, gradients, judged, strict=True)]
    unknown = frozen([math.nan] * len(moved))
    return BatchAlgebra(
        rows=whole.rows, samples=len(chosen), gap=gap, permuted_gap=permuted_gap, residual=frozen([r for r, _ in summed]),
        scale=frozen([s for _, s in summed]), permuted_residual=frozen(moved), permuted_scale=frozen([norm(g) for g in gradients]),
        noise=frozen(noise), epsilon=widest_epsilon(*whole.outputs), other_residual=unknown, other_permuted_residual=unknown,
        contiguous_residual=unknown,
    )


def _samples(setup: Setup) -> int:
    with preserved(setup.model), torch.no_grad():
        output = setup.model(*setup.batch.args, **setup.batch.kwargs)
    count = samples_in(output, setup.batch)
    for seed in (1, 2):
        with preserved(setup.model), torch.no_grad():
            torch.manual_seed(seed)
            again = setup.model(*setup.batch.args, **setup.batch.kwargs)
        if any(not torch.equal(a, b) for a, b in zip(floating(output), floating(again), strict=True)):
            raise NotApplicable("the model is random in evaluation mode")
    if count < 2:
        raise NotApplicable("the batch has one sample only" if count == 1 else "inputs and outputs have no common sample axis")
    given = tensors((setup.batch.args, dict(setup.batch.kwargs)))
    if len(given) > 1 and any(tensor.dim() >= 2 and tensor.shape[0] == tensor.shape[1] == count for tensor in given):
        raise NotApplicable("an input of shape (samples, samples) relates the samples to each other")
    if any(tensor.dim() and tensor.shape[0] != count and not tensor.is_floating_point() for tensor in given):
        raise NotApplicable("an index without a sample axis relates the samples to each other")
    return count


def _pick(batch: Batch, count: int, chosen: Sequence[int]) -> Batch:
    """The batch with these samples, in this order; tensors without the sample axis are kept."""

    def pick(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[list(chosen)] if tensor.dim() and tensor.shape[0] == count else tensor

    kwargs: dict[str, Any] = mapped(dict(batch.kwargs), pick)
    return replace(batch, args=mapped(tuple(batch.args), pick), kwargs=kwargs)


def _record(setup: Setup, batch: Batch, contiguous: bool) -> Graph:
    """One pass; ``contiguous``: each layer is handed its gradient in memory of its own, in the usual order."""
    try:
        with preserved(setup.model):
            graph = Graph.record(setup, batch)
        for tensor in graph.tensors[: graph.rows.roles.count("layer")] if contiguous else ():
            tensor.register_hook(_in_order)  # type: ignore[no-untyped-call]
        return graph
    except SubjectError as failure:
        raise NotApplicable(f"the model does not run on a part of its batch: {str(failure)[:120]}") from None


def _in_order(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.clone(memory_format=torch.contiguous_format)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    size = norm(one) / max(1, one.numel()) ** 0.5
    return float((one - other).detach().abs().max()) / size if one.shape == other.shape and size > 0 else 0.0


def _by_sample(whole: torch.Tensor, singles: Gradients) -> bool:
    """Whether a tensor has a row per sample: relative positions, say, are shared by all samples."""
    return whole.dim() > 0 and len(whole) == len(singles) and all(single.shape == whole[:1].shape for single in singles)


def _against_samples(role: str, whole: torch.Tensor, singles: Gradients) -> tuple[float, float]:
    scale = sum(norm(single) for single in singles)
    if role == "parameter":
        return norm(whole - torch.stack(singles).sum(0)), scale
    if not _by_sample(whole, singles):
        return 0.0, scale
    return norm(whole - torch.cat(singles)), scale


def _reordered(role: str, permuted: torch.Tensor, plain: torch.Tensor, order: list[int]) -> torch.Tensor:
    if role == "parameter":
        return permuted
    if plain.dim() == 0 or plain.shape[0] != len(order):
        return plain
    back = torch.empty_like(permuted)
    back[order] = permuted
    return back
