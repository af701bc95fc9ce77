"""Changes of use: the mode, which tensors require a gradient, what follows the outputs, how gradients lie in memory."""

from collections.abc import Callable, Iterator
from itertools import combinations

import torch

from gradcheck_suite.probes.configuration_sweep.draft import After, Change, Draft, Inapplicable

MODE, NEEDS, GRAPH, LAYOUT, SIZE = "mode", "requires_grad", "use in the graph", "layout", "size of the incoming gradient"


def modes(draft: Draft) -> Iterator[Change]:
    """The other of training and evaluation."""
    def apply(d: Draft) -> None:
        d.training = not d.module.training

    yield Change(MODE, "evaluation mode" if draft.module.training else "training mode", apply)


def needs(draft: Draft, names: dict[int, str]) -> Iterator[Change]:
    """Each input and each parameter without a gradient, then all parameters; inputs that need none in training with one."""
    for index in draft.floating:
        text = f"{names[index]} without requires_grad" if draft.moving[index] else f"{names[index]} with requires_grad"
        yield Change(NEEDS, text, lambda d, i=index: _flip(d, i))  # type: ignore[misc]
    owned = [(name, p) for name, p in draft.module.named_parameters() if p.requires_grad]
    for name, parameter in owned:
        yield Change(NEEDS, f"{name} frozen", lambda d, p=parameter: d.frozen.append(p))  # type: ignore[misc]
    if len(owned) > 1 and draft.floating:
        yield Change(NEEDS, "all parameters frozen", lambda d: d.frozen.extend(p for _, p in owned))


def graph(draft: Draft, names: dict[int, str]) -> Iterator[Change]:
    """Another call before the backward pass; the same tensor for two arguments; the output used beside an input; one of several outputs."""
    if draft.floating:
        yield Change(GRAPH, "called again, with other values, before the backward pass", _disturb)
    for first, second in combinations(draft.floating, 2):
        if draft.leaves[first].shape == draft.leaves[second].shape:
            yield Change(GRAPH, f"the same tensor for {names[first]} and {names[second]}", _same(first, second))
    yield Change(GRAPH, "outputs used twice", _after(lambda ys: [1.5 * y + y.square() for y in ys]))
    for number in range(2):
        yield Change(GRAPH, f"only output {number} used", _after(lambda ys, n=number: _only(ys, n)))  # type: ignore[misc]


def layouts(draft: Draft, names: dict[int, str]) -> Iterator[Change]:
    """Incoming gradients that are expanded or transposed or zero in part, very large or very small; inputs that are not contiguous."""
    yield Change(LAYOUT, "the incoming gradient is one number, expanded", _after(_summed))
    yield Change(LAYOUT, "the incoming gradient is transposed", _after(_transposed))
    yield Change(SIZE, "the incoming gradient times 1e6", _after(lambda ys: [1e6 * y for y in ys]))
    yield Change(SIZE, "the incoming gradient times 1e-6", _after(lambda ys: [1e-6 * y for y in ys]))
    yield Change(LAYOUT, "the incoming gradient is expanded along the last axis", _after(_row_sums))
    yield Change(LAYOUT, "the incoming gradient is zero in part", _after(_halved))
    for index in draft.floating:
        yield Change(LAYOUT, f"{names[index]} not contiguous", _scattered(index))


def _flip(draft: Draft, index: int) -> None:
    draft.moving[index] = not draft.moving[index]


def _disturb(draft: Draft) -> None:
    draft.disturbed = True


def _same(first: int, second: int) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        draft.leaves[second] = draft.leaves[first]
        draft.moving[first] = draft.moving[first] or draft.moving[second]

    return apply


def _after(what: After) -> Callable[[Draft], None]:
    return lambda draft: draft.after.append(what)


def _only(ys: list[torch.Tensor], number: int) -> list[torch.Tensor]:
    if len(ys) < 2:
        raise Inapplicable
    return [ys[number]]


def _summed(ys: list[torch.Tensor]) -> list[torch.Tensor]:
    if all(y.numel() < 2 for y in ys):
        raise Inapplicable
    return [1.0 * y.sum() for y in ys]


def _row_sums(ys: list[torch.Tensor]) -> list[torch.Tensor]:
    if all(y.dim() < 2 for y in ys):
        raise Inapplicable
    return [1.0 * y.sum(-1) if y.dim() > 1 else y for y in ys]


def _transposed(ys: list[torch.Tensor]) -> list[torch.Tensor]:
    if all(y.dim() < 2 for y in ys):
        raise Inapplicable
    return [y.transpose(0, -1) if y.dim() > 1 else y for y in ys]


def _halved(ys: list[torch.Tensor]) -> list[torch.Tensor]:
    if all(not y.dim() or y.shape[0] < 2 for y in ys):
        raise Inapplicable
    return [y[: max(1, y.shape[0] // 2)] if y.dim() else y for y in ys]


def _scattered(index: int) -> Callable[[Draft], None]:
    def apply(draft: Draft) -> None:
        if draft.leaves[index].dim() < 2:
            raise Inapplicable
        draft.arranged[index] = lambda x: x.transpose(0, -1).contiguous().transpose(0, -1)

    return apply
