"""Changes of values: zeros, signs, sizes, ties and repetitions, in inputs, whole numbers and parameters."""

from collections.abc import Callable, Iterator

import torch

from gradcheck_suite.probes.configuration_sweep.draft import Change, Draft, Inapplicable, integral
from gradcheck_suite.probes.directional_derivative.draws import Draws

ZEROS, DOMAIN, TIES, PARAMETERS = "zeros", "values of the input", "duplicates and ties", "values of the parameters"

Edit = Callable[[torch.Tensor], torch.Tensor]


def zeros(draft: Draft, names: dict[int, str]) -> Iterator[Change]:
    """Zeros in each floating input: one row, one entry, two entries of a row, all; and parameters of zeros."""
    edits = (("one row", _row_of_zeros), ("one entry", _zero_entries(1)), ("two entries of a row", _zero_entries(2)),
             ("everywhere", torch.zeros_like))
    for where, edit in edits:
        for index in draft.floating:
            yield Change(ZEROS, f"{names[index]}: zero {'in ' if where != 'everywhere' else ''}{where}", edited(index, edit))
    for name, parameter in draft.module.named_parameters(recurse=False):
        yield Change(ZEROS, f"{name}: zero", lambda d, p=parameter: _set(d, p, torch.zeros_like(p.data)))  # type: ignore[misc]


def domain(draft: Draft, names: dict[int, str], draws: Draws) -> Iterator[Change]:
    """Other values of each floating input: larger, smaller, of the other sign, shifted, without their symmetries, one row small."""
    def jittered(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + 0.4 * draws.like(x))

    def shifted(x: torch.Tensor) -> torch.Tensor:
        return x + 3 * float(x.abs().mean())

    edits = (("times 30", lambda x: 30.0 * x, True), ("entries changed at random", jittered, False),
             ("times 0.001", lambda x: 1e-3 * x, True), ("of the other sign", torch.neg, False),
             ("shifted by three times its mean size", shifted, False), ("one row times 0.001", _small_row, False),
             ("times 1000", lambda x: 1e3 * x, True))
    for what, edit, extreme in edits:
        for index in draft.floating:
            yield Change(DOMAIN, f"{names[index]}: {what}", edited(index, edit), extreme=extreme)


def ties(draft: Draft, names: dict[int, str]) -> Iterator[Change]:
    """Entries that are equal and move together: the largest of every row twice, two rows, all of a row; whole numbers repeated."""
    for where, index in integers(draft, names):
        for what, edit in (("an entry repeated", _repeated), ("one entry smaller by one", _decreased), ("in another order", _reordered),
                           ("one entry everywhere", lambda x: torch.full_like(x, int(x.reshape(-1)[0])))):
            yield Change(TIES, f"{where}: {what}", edited_integers(index, edit))
    for what, make in (("the largest entry of every row twice", _largest_twice), ("two equal rows", _equal_rows),
                       ("all entries of a row equal", _constant_row)):
        for position in draft.floating:
            yield Change(TIES, f"{names[position]}: {what}", tied(position, make))


def parameters(draft: Draft, draws: Draws) -> Iterator[Change]:
    """All parameters at random, of the size and sign they have; those of zeros too."""
    def apply(d: Draft) -> None:
        found = [p for p in d.module.parameters() if p.is_floating_point() and p.numel()]
        if not found:
            raise Inapplicable
        for parameter in found:
            value = parameter.data
            size = float(value.abs().mean())
            noise = draws.like(value)
            _set(d, parameter, value * (1 + 0.4 * noise) if size else 0.3 * noise)

    yield Change(PARAMETERS, "parameters at random", apply)


def edited(index: int, edit: Edit) -> Callable[[Draft], None]:
    """A change of one leaf's values."""
    def apply(draft: Draft) -> None:
        before = draft.leaves[index]
        after = edit(before)
        if after.shape == before.shape and torch.equal(after, before):
            raise Inapplicable
        draft.leaves[index] = after

    return apply


def edited_integers(place: int | torch.Tensor, edit: Edit) -> Callable[[Draft], None]:
    """A change of one integer leaf, or of an integer buffer of the module."""
    def apply(draft: Draft) -> None:
        before = draft.leaves[place] if isinstance(place, int) else place
        after = edit(before)
        if torch.equal(after, before) or (_permutes(draft, before) and not _permutes(draft, after)):
            raise Inapplicable
        if isinstance(place, int):
            draft.leaves[place] = after
        else:
            draft.values.append((place, after))

    return apply


def tied(position: int, make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Draft], None]:
    """Entries of one leaf that are given to the module several times: ``make`` says which (flat positions, of the leaf's shape)."""
    def apply(draft: Draft) -> None:
        leaf = draft.leaves[position]
        source = make(leaf)
        if torch.equal(source, _flat(leaf)):
            raise Inapplicable
        draft.arranged[position] = lambda x: x.reshape(-1)[source.reshape(-1)].view(source.shape)

    return apply


def _set(draft: Draft, tensor: torch.Tensor, value: torch.Tensor) -> None:
    if torch.equal(tensor.data, value):
        raise Inapplicable
    draft.values.append((tensor, value))


def integers(draft: Draft, names: dict[int, str]) -> Iterator[tuple[str, int | torch.Tensor]]:
    """Whole numbers that the module is given, and those it keeps, each with its name."""
    for index in draft.whole_numbers:
        yield names.get(index, f"argument {index}"), index
    buffers = [(name, buffer) for name, buffer in draft.module.named_buffers(recurse=False) if integral(buffer)]
    if len(buffers) == 1:  # of several, one may be made of another: a permutation and its inverse
        yield buffers[0]


def _permutes(draft: Draft, numbers: torch.Tensor) -> bool:
    """Whether whole numbers are an order of all entries along an axis of some input: no entry of it can be repeated."""
    count = numbers.numel()
    order = numbers.dim() == 1 and count > 1 and torch.equal(numbers.sort().values, torch.arange(count, dtype=numbers.dtype))
    return order and any(count in draft.leaves[index].shape for index in draft.floating)


def _flat(leaf: torch.Tensor) -> torch.Tensor:
    return torch.arange(leaf.numel()).view(leaf.shape)


def _row_of_zeros(x: torch.Tensor) -> torch.Tensor:
    if x.dim() < 2:
        raise Inapplicable
    changed = x.clone()
    changed[(0,) * (x.dim() - 1)] = 0
    return changed


def _small_row(x: torch.Tensor) -> torch.Tensor:
    if x.dim() < 2:
        raise Inapplicable
    changed = x.clone()
    changed[(0,) * (x.dim() - 1)] *= 1e-3
    return changed


def _zero_entries(count: int) -> Edit:
    def edit(x: torch.Tensor) -> torch.Tensor:
        if not x.dim() or x.shape[-1] <= count:
            raise Inapplicable
        changed = x.clone()
        changed[(0,) * (x.dim() - 1)][1 : 1 + count] = 0
        return changed

    return edit


def _repeated(x: torch.Tensor) -> torch.Tensor:
    changed = x.clone().reshape(-1)
    if changed.numel() < 2:
        raise Inapplicable
    changed[1] = changed[0]
    return changed.view(x.shape)


def _decreased(x: torch.Tensor) -> torch.Tensor:
    changed = x.clone().reshape(-1)
    place = int(changed.argmax())
    if int(changed[place]) <= 0:
        raise Inapplicable
    changed[place] -= 1
    return changed.view(x.shape)


def _reordered(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1).roll(1).view(x.shape)


def _largest_twice(x: torch.Tensor) -> torch.Tensor:
    if not x.dim() or x.shape[-1] < 3 or x.is_complex():
        raise Inapplicable
    largest = x.argmax(-1, keepdim=True)
    beside = (largest + 1) % x.shape[-1]
    places = _flat(x)
    return places.scatter(-1, beside, places.gather(-1, largest))


def _equal_rows(x: torch.Tensor) -> torch.Tensor:
    if x.dim() < 2 or x.shape[0] < 2:
        raise Inapplicable
    places = _flat(x)
    places[1] = places[0]
    return places


def _constant_row(x: torch.Tensor) -> torch.Tensor:
    if x.dim() < 2 or x.shape[-1] < 2:
        raise Inapplicable
    places = _flat(x)
    row = places[(0,) * (x.dim() - 1)]
    row[:] = row[0].clone()
    return places
