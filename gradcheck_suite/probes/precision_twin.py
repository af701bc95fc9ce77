"""Precision twin: the same weights and batch in float64, made under float64 as the default dtype."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradcheck_suite.captures.precision_twin import PrecisionTwin
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import floating, forward, realise
from gradcheck_suite.probes.experiment import Experiment, is_finite
from gradcheck_suite.probes.nested import mapped
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Batch, Setup, Subject

Gradients = dict[str, torch.Tensor]
_FURTHER = 32.0


def precision_twin(subject: Subject, budget: Budget, seed: int) -> PrecisionTwin:
    """Both gradients (see ``captures.precision_twin.PrecisionTwin``).

    Raises:
        NotApplicable: the model computes in float64 already, has nothing to train, or does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    dtypes = {p.dtype for p in setup.model.parameters() if p.requires_grad}
    if len(dtypes) != 1:
        raise NotApplicable("the model has no trainable parameter" if not dtypes else "the parameters have several dtypes")
    (dtype,) = dtypes
    if dtype == torch.float64 or dtype.is_complex:
        raise NotApplicable(f"the parameters are {str(dtype).removeprefix('torch.')} already")
    with preserved(setup.model), torch.enable_grad():
        evaluation = setup.model.training and not _equal(_gradients(setup, seed)[1], _gradients(setup, seed, 1)[1])
    # Running statistics that the passes in training mode have moved are back where the twin's are.
    with preserved(setup.model), torch.enable_grad():
        if evaluation:
            setup.model.eval()
        with _Narrowest(dtype) as narrowest:
            loss, own = _gradients(setup, seed) if not evaluation else _evaluated(setup, seed)
        if evaluation and not _equal(own, _gradients(setup, seed, 1)[1]):
            raise NotApplicable("the model is random in evaluation mode too")
        shapes = _shapes(setup)
        noise = _difference(own, _gradients(setup, seed)[1])
    twin_loss, twin, (moved, further) = _twin(subject, seed, evaluation, torch.finfo(narrowest.dtype).eps, shapes)
    parts = {name: float((own[name].double() - twin[name]).norm()) for name in own if name in twin}
    return PrecisionTwin(
        dtype=str(narrowest.dtype).removeprefix("torch."), eps=torch.finfo(narrowest.dtype).eps, difference=_difference(own, twin),
        finite=is_finite(*own.values()) and math.isfinite(loss), twin_finite=is_finite(*twin.values()) and math.isfinite(twin_loss),
        loss=loss, twin_loss=twin_loss, parameter=max(parts, key=lambda name: parts[name], default=""),
        noise=_finite(noise), evaluation=evaluation,
        sensitivity=_finite(_difference(moved, twin)),
        crossing=_crossing(_finite(_difference(moved, twin)), _finite(_difference(further, twin))),
    )


def _crossing(near: float, far: float) -> float:
    """What crossing kinks changes, of the changes for one rounding error and for more of them: a smooth model's grow in proportion."""
    return far if far > 2 * _FURTHER * near else 0.0


class _Narrowest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The narrowest floating dtype that an operation made: under autocast it is not that of the parameters."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point() and torch.finfo(result.dtype).eps > torch.finfo(self.dtype).eps:
            self.dtype = result.dtype
        return result


def _twin(subject: Subject, seed: int, evaluation: bool, eps: float, shapes: list[torch.Size]) -> tuple[float, Gradients, list[Gradients]]:
    """The twin's loss and gradients, and its gradients with every parameter off by one rounding error of the model's own format, and by
    ``_FURTHER`` of them."""
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        torch.set_default_dtype(torch.float64)
        setup.model.double()
        if evaluation:
            setup.model.eval()
        batch = setup.batch
        kwargs = {name: mapped(value, _double) for name, value in batch.kwargs.items()}
        wide = Batch(tuple(mapped(value, _double) for value in batch.args), kwargs, mapped(batch.targets, _double))
        try:
            if _shapes(replace(setup, batch=wide)) != shapes:
                raise NotApplicable("the outputs have other shapes in float64: they depend on the data")
            with preserved(setup.model):
                loss, gradients = _gradients(replace(setup, batch=wide), seed)
            moved = []
            for times in (1.0, _FURTHER):
                with preserved(setup.model):
                    _round(setup.model, times * eps, derive(seed, "rounding"))
                    moved.append(_gradients(replace(setup, batch=wide), seed)[1])
        except SubjectError as failure:
            raise NotApplicable(f"the model does not run in float64: {str(failure)[:120]}") from None
    if any(gradient.dtype != torch.float64 for gradient in gradients.values()):
        raise NotApplicable("the gradients of the float64 twin are not float64")
    return loss, gradients, moved


def _round(model: torch.nn.Module, size: float, seed: int) -> None:
    """Every parameter off by a random relative error of that size."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data.mul_(1 + size * torch.randn(parameter.shape, generator=generator).to(parameter))


def _shapes(setup: Setup) -> list[torch.Size]:
    """Shapes of the floating outputs; where they differ, the two losses are different functions."""
    with preserved(setup.model), torch.no_grad():
        torch.manual_seed(0)
        return [tensor.shape for tensor in floating(forward(setup))]


def _gradients(setup: Setup, seed: int, draw: int = 0) -> tuple[float, Gradients]:
    """Loss and gradients; ``draw`` seeds the generators that dropout draws from."""
    torch.manual_seed(draw)
    loss = Experiment(replace(setup, optimizer=None), seed).gradients()
    found = {name: p.grad.detach().clone() for name, p in setup.model.named_parameters() if p.grad is not None}
    return float(loss), {name: gradient.to_dense() if gradient.layout != torch.strided else gradient for name, gradient in found.items()}


def _evaluated(setup: Setup, seed: int) -> tuple[float, Gradients]:
    try:
        return _gradients(setup, seed)
    except SubjectError as failure:
        raise NotApplicable(f"random in training mode, and it cannot be differentiated in evaluation mode: {str(failure)[:160]}") from None


def _finite(size: float) -> float:
    return size if math.isfinite(size) else 0.0


def _difference(own: Gradients, other: Gradients) -> float:
    names = [name for name in own if name in other]
    error = math.sqrt(sum(float((own[name].double() - other[name].double()).square().sum()) for name in names))
    size = math.sqrt(sum(float(other[name].double().square().sum()) for name in names))
    return error / size if size > 0 and math.isfinite(size) else math.nan


def _equal(first: Gradients, second: Gradients) -> bool:
    difference = _difference(first, second)
    return not difference > 0.0


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
