"""Batch composition: replace the other samples, or the later positions, and look at what must not move."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.batch_composition import BatchComposition, Mixing
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.probes.execution import differentiable, floating, forward, hookable, realise, tensors
from gradcheck_suite.probes.experiment import samples_in
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup, Subject

Tensor = torch.Tensor
Pick = Callable[[Tensor], Tensor]
PickOutput = Callable[[int, Tensor], Tensor]
_SHIFTS = (1, 2, 3)


def batch_composition(subject: Subject, budget: Budget, seed: int) -> BatchComposition:
    """Who depends on whom (see ``captures.batch_composition.BatchComposition``).

    Raises:
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model):
        setup.model.eval()
        with torch.no_grad():
            output = forward(setup)
        samples = samples_in(output, setup.batch)
        mixing, related = None, ""
        if samples > 1:
            tables = _tables(setup, output, samples)
            found = [_mixing(setup, _alone(setup.batch, samples, row), partial(_row, row), partial(_own, tables, row))
                     for row in (0, samples - 1)]
            mixing = max(found, key=lambda one: (one.module is not None, one.change / (one.scale or 1.0)))
            related = _related(setup, output, samples, mixing)
        shift, positions, teacher = _shift(setup.batch)
        foresight = None
        if teacher is not None and samples:
            last = positions - 1
            foresight = _mixing(setup, _changed_end(setup.batch, teacher), lambda tensor: tensor[:, :last])
    return BatchComposition(samples=samples, related=related, mixing=mixing, shift=shift, positions=positions, foresight=foresight)


def _mixing(setup: Setup, changed: Batch, pick: Pick, pick_output: PickOutput | None = None) -> Mixing:
    """What changes in the picked part of the outputs when the batch is replaced; ``pick`` is for what modules give as well."""
    own = pick_output or (lambda _, tensor: pick(tensor))
    with torch.no_grad(), _drawing(0), _Traffic(setup.model, pick) as first:
        output = forward(setup)
    with torch.no_grad(), _drawing(0):
        again = forward(setup)
    with torch.no_grad(), _drawing(0), _Traffic(setup.model, pick) as second:
        other = forward(setup, changed)
    values, repeats, others = _real(output), _real(again), _real(other)
    scale = max((_largest(own(k, value)) for k, value in enumerate(values)), default=0.0)
    change = max((_difference(own(k, a), own(k, b)) for k, (a, b) in enumerate(zip(values, others, strict=False))), default=0.0)
    noise = max((_difference(own(k, a), own(k, b)) for k, (a, b) in enumerate(zip(values, repeats, strict=False))), default=0.0)
    eps = max((torch.finfo(value.dtype).eps for value in values), default=0.0)
    tolerance = max(noise, 1e3 * eps * scale)
    path = _culprit(first, second, tolerance) if change > tolerance else None
    return Mixing(change=change, scale=scale, noise=noise, gradient=_gradient(setup, changed, own), module=path, eps=eps,
                  class_name=type(setup.model.get_submodule(path)).__name__ if path is not None else "")


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """The same random numbers in every run: a model that samples in evaluation mode can then be compared with itself."""
    torch.manual_seed(seed)
    yield


class _Traffic:
    """The picked part of every module's first input and output, in the order in which the modules end."""

    def __init__(self, model: nn.Module, pick: Pick) -> None:
        self._model, self._pick = model, pick
        self.seen: list[tuple[str, list[Tensor], list[Tensor]]] = []

    def __enter__(self) -> "_Traffic":
        self._handles = [module.register_forward_hook(lambda _, given, output, path=path: self._note(path, given, output))
                         for path, module in hookable(self._model)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, path: str, given: Any, output: Any) -> None:
        self.seen.append((path, self._picked(given), self._picked(output)))

    def _picked(self, value: Any) -> list[Tensor]:
        found = []
        for tensor in tensors(value):
            try:
                found.append(self._pick(tensor).detach().clone())
            except IndexError:
                continue
        return found


def _culprit(first: _Traffic, second: _Traffic, tolerance: float) -> str:
    for (path, given, output), (other, given_then, output_then) in zip(first.seen, second.seen, strict=False):
        if path == other and not _moved(given, given_then, tolerance) and _moved(output, output_then, tolerance):
            return path
    return ""


def _moved(before: list[Tensor], after: list[Tensor], tolerance: float) -> bool:
    return any(a.shape != b.shape or _difference(a, b) > tolerance for a, b in zip(before, after, strict=False))


def _gradient(setup: Setup, changed: Batch, pick: PickOutput) -> float:
    """Largest gradient of the picked outputs with respect to those input entries that the changed batch replaces."""
    with torch.enable_grad():
        batch, leaves = differentiable(setup.batch)
        if not leaves:
            return 0.0
        values = [(k, value) for k, value in enumerate(_real(forward(setup, batch))) if value.requires_grad]
        if not values:
            return 0.0
        total = torch.stack([pick(k, value).double().sum() for k, value in values]).sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True)
    replaced_with = floating((changed.args, dict(changed.kwargs)))
    worst = 0.0
    for gradient, leaf, other in zip(found, leaves, replaced_with, strict=False):
        if gradient is not None and leaf.shape == other.shape:
            worst = max(worst, _largest(gradient[leaf.detach() != other]))
    return worst


def _alone(batch: Batch, samples: int, row: int) -> Batch:
    """The batch with every sample replaced by the one in that row."""
    return _with(batch, lambda tensor: tensor[row : row + 1].expand(tensor.shape).clone() if _batched(tensor, samples) else tensor)


def _changed_end(batch: Batch, teacher: Tensor) -> Batch:
    """The batch with the last position of the input whose later positions are the targets replaced by another one's value.

    Other inputs of as many positions (the source of a translation, a mask) may be seen whole, and stay.
    """
    def change(tensor: Tensor) -> Tensor:
        if tensor is not teacher:
            return tensor
        other = tensor.clone()
        end = tensor[:, -1]
        other[:, -1] = -end if tensor.is_floating_point() else torch.where(tensor[:, 0] == end, tensor[:, 1], tensor[:, 0])
        return other

    return _with(batch, change)


def _related(setup: Setup, output: Any, samples: int, mixing: Mixing) -> str:
    given = tensors((setup.batch.args, dict(setup.batch.kwargs)))
    if any(tensor.dim() >= 2 and tensor.shape[0] == tensor.shape[1] == samples for tensor in given) and len(given) > 1:
        return "an input of shape (samples, samples) relates the samples to each other"
    if any(not _batched(tensor, samples) and tensor.dim() and not tensor.is_floating_point() for tensor in given):
        return "an index without a batch axis relates the samples to each other"
    first = next((tensor for tensor in given if _batched(tensor, samples)), None)
    values = _real(output)
    if mixing.module is None or first is None or not values:
        return ""
    for axis in range(1, first.dim() - 1):
        length = first.shape[axis]
        if length > 1 and all(value.dim() > axis and value.shape[axis] == length for value in values):
            other = _with(setup.batch, partial(_repeated, axis, length))
            if _mixing(setup, other, partial(_first, axis)).module is None:
                return f"the samples may lie on {_ORDINALS.get(axis, f'axis {axis}')}: no mixing is seen along it"
    return ""


_ORDINALS = {1: "the second axis", 2: "the third axis"}


def _first(axis: int, tensor: Tensor) -> Tensor:
    return tensor.select(axis, 0)


def _repeated(axis: int, length: int, tensor: Tensor) -> Tensor:
    """The first of that axis in the place of all; tensors without such an axis, or where it is the last, as they are."""
    if tensor.dim() <= axis + 1 or tensor.shape[axis] != length:
        return tensor
    return tensor.narrow(axis, 0, 1).expand(tensor.shape).clone()


def _shift(batch: Batch) -> tuple[int, int, Tensor | None]:
    """By how many positions the targets are the inputs of later positions, the number of positions, and that input."""
    targets = batch.targets
    if not isinstance(targets, Tensor) or targets.dim() < 2:
        return 0, 0, None
    for given in tensors((batch.args, dict(batch.kwargs))):
        if given.shape != targets.shape or bool((given == given[:, :1]).all()):
            continue
        for shift in _SHIFTS:
            if given.shape[1] > 2 * shift and bool((targets[:, :-shift] == given[:, shift:]).all()):
                return shift, int(given.shape[1]), given
    return 0, 0, None


def _with(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    kwargs = {name: mapped(value, change) for name, value in batch.kwargs.items()}
    return Batch(tuple(mapped(value, change) for value in batch.args), kwargs, batch.targets)


def _row(row: int, tensor: Tensor) -> Tensor:
    return tensor[row]


def _own(tables: frozenset[int], row: int, index: int, output: Tensor) -> Tensor:
    """A sample's part of an output; of a table of all pairs of samples (similarities of images and texts), its pair with itself."""
    return output[row, row] if index in tables else output[row]


def _tables(setup: Setup, output: Any, samples: int) -> frozenset[int]:
    """Which outputs are tables of all pairs of samples: with fewer samples they have fewer columns too, as logits of classes have not."""
    square = frozenset(index for index, value in enumerate(_real(output)) if value.shape == (samples, samples))
    for fewer in (samples - 1, samples - 2) if square else ():  # views that come in pairs need an even number
        batch = _with(setup.batch, partial(_first_rows, samples, fewer))
        with suppress(SubjectError), torch.no_grad():
            return square & {index for index, value in enumerate(_real(forward(setup, batch))) if value.shape == (fewer, fewer)}
    return frozenset()


def _first_rows(samples: int, count: int, tensor: Tensor) -> Tensor:
    return tensor[:count] if _batched(tensor, samples) else tensor


def _batched(tensor: Tensor, samples: int) -> bool:
    return tensor.dim() > 0 and tensor.shape[0] == samples


def _real(output: Any) -> list[Tensor]:
    return [tensor for tensor in floating(output) if not tensor.is_complex() and tensor.dim()]


def _largest(tensor: Tensor) -> float:
    known = tensor.double().abs()
    known = known[torch.isfinite(known)]
    return float(known.max()) if known.numel() else 0.0


def _difference(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        return float("inf")
    if not first.is_floating_point():
        return float((first != second).any())
    both = ~(torch.isnan(first) & torch.isnan(second)) & ~(first == second)
    return float((first.double() - second.double())[both].abs().nan_to_num(nan=float("inf")).max()) if bool(both.any()) else 0.0
