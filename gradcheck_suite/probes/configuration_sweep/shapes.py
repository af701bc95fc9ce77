"""Changes of shape: one sample, more rows, odd sizes, longer axes, one axis more or less."""

from collections.abc import Iterator

import torch

from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft, Inapplicable
from gradcheck_suite.probes.configuration_sweep.values import integers
from gradcheck_suite.probes.directional_derivative.draws import Draws

SHAPE = "shape"


def shapes(draft: Draft, draws: Draws) -> Iterator[Change]:
    """Other sizes along each axis of the main input, in every argument that shares the axis; more axes and fewer."""
    main = _main(draft)
    if main is None:
        return
    shape = draft.leaves[main].shape
    sizes = [(0, 1), (0, 2 * shape[0] + 1)]
    axes = range(len(shape) - 1, 0, -1)
    sizes += [(axis, shape[axis] + 1) for axis in axes]
    yield from (_sized(main, axis, size, draws) for axis, size in sizes[:2])
    yield Change(SHAPE, "one axis more, in front", lambda d: _stacked(d, draws))
    yield from (_sized(main, axis, size, draws) for axis, size in sizes[2:])
    yield Change(SHAPE, "without the first axis", _first)
    for what, place in integers(draft, {}):
        yield Change(SHAPE, f"{what}: only its first row", lambda d, p=place: _first_row(d, p))  # type: ignore[misc]
    yield from (_sized(main, axis, 2 * shape[axis], draws) for axis in axes)
    yield from (_sized(main, axis, 1, draws) for axis in axes)


def features(draft: Draft, draws: Draws) -> Iterator[Change]:
    """Twice the length of every axis but the first: what a setting such as ``groups`` may call for."""
    main = _main(draft)
    if main is not None:
        yield from (_sized(main, axis, 2 * size, draws) for axis, size in enumerate(draft.leaves[main].shape) if axis)


def _main(draft: Draft) -> int | None:
    """The leaf with the most axes, floating ones first."""
    found = [(draft.leaves[index].dim(), index) for index in draft.floating or draft.whole_numbers if draft.leaves[index].dim()]
    return max(found, key=lambda pair: (pair[0], -pair[1]))[1] if found else None


def _sized(main: int, axis: int, size: int, draws: Draws) -> Change:
    def apply(draft: Draft) -> None:
        leaf = draft.leaves[main]
        before = leaf.shape[axis] if leaf.dim() > axis else 0
        if before in (0, size):
            raise Inapplicable
        draft.cut = axis if size == 1 else draft.cut
        for index in _tensors(draft):
            if draft.leaves[index].dim() > axis and draft.leaves[index].shape[axis] == before:
                draft.leaves[index] = resized(draft.leaves[index], axis, size, draws)

    return Change(SHAPE, f"axis {axis} of length {size}", apply)


def resized(tensor: torch.Tensor, axis: int, size: int, draws: Draws) -> torch.Tensor:
    """Slices repeated in turn or left out; repeated floating ones are changed at random, keeping sign and zeros."""
    length = tensor.shape[axis]
    taken = tensor.index_select(axis, torch.arange(size) % length)
    if not tensor.is_floating_point() or size <= length:
        return taken
    varied = taken * (1 + 0.4 * draws.like(taken))
    return torch.cat([taken.narrow(axis, 0, length), varied.narrow(axis, length, size - length)], axis)


def _first_row(draft: Draft, place: int | torch.Tensor) -> None:
    before = draft.leaves[place] if isinstance(place, int) else place
    if not before.dim() or before.shape[0] < 2:
        raise Inapplicable
    if isinstance(place, int):
        draft.leaves[place] = before[:1]
    else:
        draft.values.append((place, before[:1]))


def _stacked(draft: Draft, draws: Draws) -> None:
    found = _tensors(draft)
    if not found:
        raise Inapplicable
    for index in found:
        draft.leaves[index] = resized(draft.leaves[index][None], 0, 2, draws)
    draft.slices = [[leaf[number] if index in found else leaf for index, leaf in enumerate(draft.leaves)] for number in range(2)]


def _first(draft: Draft) -> None:
    found = [index for index in _tensors(draft) if draft.leaves[index].dim()]
    if not found:
        raise Inapplicable
    draft.sliced = True
    for index in found:
        draft.leaves[index] = draft.leaves[index][0]


def _tensors(draft: Draft) -> list[int]:
    return [index for index, leaf in enumerate(draft.leaves)
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided and leaf.numel() and not leaf.is_complex()]
