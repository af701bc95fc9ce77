"""Running a subject once: its forward pass, its objective, and failures of the subject told apart from failures of ours."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.errors import GradcheckError, NotApplicable, SubjectError
from gradcheck_suite.core.failures import details_of, message_of
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.subject import Batch, Setup, Subject


def realise(subject: Subject, seed: int) -> Setup:
    """``subject.setup(seed)``.

    Raises:
        SubjectError: the subject could not be built.
        NotApplicable: no tensor of the batch has an entry, so that nothing would be compared with nothing.
    """
    with failures("build"):
        setup = subject.setup(seed)
    sizes = [tensor.numel() for tensor in tensors((setup.batch.args, dict(setup.batch.kwargs)))]
    if sizes and not any(sizes):
        raise NotApplicable("the batch is empty")
    return setup


def filled(setup: Setup) -> Setup:
    """The setup, if no tensor of its batch is empty.

    Raises:
        NotApplicable: a tensor of the batch has no entries.
    """
    if any(tensor.numel() == 0 for tensor in tensors((setup.batch.args, dict(setup.batch.kwargs)))):
        raise NotApplicable("a tensor of the batch is empty")
    return setup


@contextmanager
def failures(stage: str, running: "Running | None" = None) -> Iterator[None]:
    """Turn an exception of the subject's code into a ``SubjectError`` that names the stage and the innermost module."""
    try:
        yield
    except GradcheckError:
        raise
    except Exception as error:
        module = running.innermost if running is not None else None
        raise SubjectError(message_of(error), stage=stage, module=module, details=details_of(error)) from error


def hookable(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """``named_modules`` without compiled TorchScript, which refuses hooks: what runs inside it is not seen."""
    return [(path, module) for path, module in model.named_modules() if not isinstance(module, torch.jit.ScriptModule)]


class Running:
    """Which modules are running: a stack of paths, kept by hooks while the context is open."""

    def __init__(self, model: nn.Module) -> None:
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.stack: list[str] = []
        self._modules = [module for _, module in hookable(model)]
        self._handles: list[Any] = []

    @property
    def innermost(self) -> str | None:
        """Path of the innermost module that has been entered and not left."""
        return self.stack[-1] if self.stack else None

    def __enter__(self) -> "Running":
        for module in self._modules:
            self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def __deepcopy__(self, memo: Any) -> "Running":
        return self  # a copy that the model makes of a module has the same hooks; they do not know it

    def _enter(self, module: nn.Module, _: Any) -> None:
        path = self.paths.get(id(module))
        if path is not None:
            self.stack.append(path)

    def _leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if self.stack and self.stack[-1] == self.paths.get(id(module)):
            self.stack.pop()


def forward(setup: Setup, batch: Batch | None = None) -> Any:
    """The model's output on the batch.

    Raises:
        SubjectError: the forward pass raised; the module that was running is named.
    """
    data = setup.batch if batch is None else batch
    with Running(setup.model) as running, failures("forward", running):
        return setup.model(*data.args, **data.kwargs)


def tensors(value: Any) -> list[torch.Tensor]:
    """Every tensor in a nested value (sequences, mappings, dataclasses), in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    return [tensor for part in parts for tensor in tensors(part)]


def floating(value: Any) -> list[torch.Tensor]:
    """The floating and complex tensors of a nested value, in order."""
    return [tensor for tensor in tensors(value) if tensor.is_floating_point() or tensor.is_complex()]


def differentiable(batch: Batch) -> tuple[Batch, list[torch.Tensor]]:
    """A batch whose floating arguments are fresh leaves that require gradients, and those leaves.

    Only tensors that are arguments themselves, or sit in lists, tuples or dicts of arguments, are replaced.
    """
    leaves: list[torch.Tensor] = []

    def fresh(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if not value.is_floating_point():
                return value
            leaves.append(value.detach().clone().requires_grad_())
            return leaves[-1]
        if type(value) in (list, tuple):
            return type(value)(fresh(item) for item in value)
        if type(value) is dict:
            return {key: fresh(item) for key, item in value.items()}
        return value

    args = tuple(fresh(item) for item in batch.args)
    kwargs = {name: fresh(item) for name, item in batch.kwargs.items()}
    return Batch(args, kwargs, batch.targets), leaves


def cotangents(outputs: Iterable[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Standard normal cotangents for the outputs, independent of the model: their generator is seeded by ``seed`` alone."""
    generator = torch.Generator().manual_seed(derive(seed, "cotangent"))
    draws = []
    for output in outputs:
        shape = (*output.shape, 2) if output.is_complex() else output.shape
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        draw = torch.view_as_complex(draw) if output.is_complex() else draw
        draws.append(draw.to(device=output.device, dtype=output.dtype))
    return draws


def contraction(outputs: list[torch.Tensor], directions: list[torch.Tensor]) -> torch.Tensor:
    """Σ <output, cotangent>, a real scalar."""
    terms = [(output * direction.conj()).real.sum() if output.is_complex() else (output * direction).sum()
             for output, direction in zip(outputs, directions, strict=True)]
    return torch.stack([term.to(torch.float64) if term.dtype == torch.float64 else term.float() for term in terms]).sum()


def objective(setup: Setup, output: Any, seed: int) -> torch.Tensor:
    """The scalar that is differentiated: the subject's loss, or the contraction of all floating outputs that carry a graph.

    Raises:
        SubjectError: the loss raised or did not return one number, or no output depends on the trainable parameters there are.
        NotApplicable: no output can be differentiated because nothing is to be trained, or because the model returns an object of
            a class that holds its tensors to itself, such as a distribution.
    """
    if setup.loss is not None:
        with failures("loss"):
            value = setup.loss(output, setup.batch.targets)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise SubjectError(f"the loss returned {shape}, not one number", stage="loss")
        return value.reshape(())
    outputs = [tensor for tensor in floating(output) if tensor.requires_grad]
    if not outputs and not any(parameter.requires_grad for parameter in setup.model.parameters()):
        raise NotApplicable("no parameter of the model requires a gradient")
    if not outputs and output is None:
        raise SubjectError("no floating output can be differentiated: the model returns None, and there is no loss", stage="forward")
    if not outputs and not tensors(output):
        raise NotApplicable(f"no tensor is found in what the model returns, a {type(output).__name__}, and there is no loss that reads it")
    if not outputs:
        raise SubjectError("no floating output of the model depends on anything that requires a gradient", stage="forward")
    if not any(tensor.numel() for tensor in outputs):
        raise NotApplicable("no output of the model has an entry")
    return contraction(outputs, cotangents(outputs, seed))
