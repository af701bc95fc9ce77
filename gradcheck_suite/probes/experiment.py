"""One realisation at work: forward pass, loss, backward pass, optimiser step, again and again on one batch."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.execution import failures, floating, objective, tensors
from gradcheck_suite.subject import Batch, Setup


class Experiment:
    """A model, its batch, its loss and its optimiser.

    ``kept`` are the parameters whose gradient, not zero, was still there after the optimiser's ``zero_grad``. ``seed`` decides the
    cotangent that stands in for a loss where the subject has none. The caller keeps the model's state (``probes.state.preserved``).
    """

    def __init__(self, setup: Setup, seed: int) -> None:
        self.setup, self.seed, self.model = setup, seed, setup.model
        self.optimizer = made_optimizer(setup)
        self.kept: list[nn.Parameter] = []
        self._begun, self._passes = False, 0

    def output(self, batch: Batch | None = None) -> Any:
        """The model's output on a batch, the subject's own by default."""
        data = self.setup.batch if batch is None else batch
        with failures("forward"):
            return self.model(*data.args, **data.kwargs)

    def loss(self, output: Any = None) -> torch.Tensor:
        """The scalar objective, with its graph."""
        return objective(self.setup, self.output() if output is None else output, self.seed)

    def gradients(self) -> torch.Tensor:
        """Clear old gradients, run forward and backward, return the loss; gradients are in ``.grad``.

        The optimiser clears the gradients that it made steps with itself, as in the owner's training.
        """
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        groups = self.optimizer.param_groups if self.optimizer is not None and self._begun else []
        held = {id(p) for group in groups for p in group["params"]}
        for parameter in self.model.parameters():
            if id(parameter) not in held:
                parameter.grad = None
        self._begun = True
        self.kept = [p for p in self.model.parameters() if p.grad is not None and bool(p.grad.any())]
        loss = self.loss()
        if loss.requires_grad:
            with failures("backward"):
                self._backward(loss)
        return loss.detach()

    def _backward(self, loss: torch.Tensor) -> None:
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if self._passes and "second time" in str(error):
                raise RuntimeError(f"the model keeps the graph of an earlier call: detach what it carries on. {error}") from error
            raise
        self._passes += 1

    def step(self) -> None:
        """One step of the optimiser on the gradients at hand."""
        if self.optimizer is None:
            return
        with failures("step"):
            if _needs_closure(self.optimizer):
                self.optimizer.step(self.gradients)  # type: ignore[arg-type]
            else:
                self.optimizer.step()


def made_optimizer(setup: Setup) -> torch.optim.Optimizer | None:
    """The subject's optimiser over its model's parameters, ``None`` where it has none or nothing can be trained.

    One that is no ``torch.optim.Optimizer`` and does not say which parameters it holds is taken to hold those it was given.

    Raises:
        SubjectError: the factory raised.
    """
    if setup.optimizer is None or not any(p.requires_grad for p in setup.model.parameters()):
        return None
    parameters = list(setup.model.parameters())
    with failures("optimizer"):
        made = setup.optimizer(parameters)
        for name, value in (("param_groups", [{"params": parameters}]), ("state", {})):
            if not hasattr(made, name):
                setattr(made, name, value)
        return made


def require_loss(setup: Setup) -> None:
    """Raise ``NotApplicable`` unless the subject has a loss."""
    if setup.loss is None:
        raise NotApplicable("the subject has no loss")


def require_training(setup: Setup) -> None:
    """Raise ``NotApplicable`` unless the subject has a loss, an optimiser and something to train."""
    require_loss(setup)
    if setup.optimizer is None:
        raise NotApplicable("the subject has no optimiser")
    if not any(p.requires_grad for p in setup.model.parameters()):
        raise NotApplicable("the model has no parameter that requires a gradient")


def is_finite(*values: torch.Tensor | None) -> bool:
    """Whether every entry of every tensor is finite; ``None`` counts as finite, and what a sparse tensor leaves out."""
    dense = (value.coalesce().values() if value.layout == torch.sparse_coo else value for value in values if value is not None)
    return all(bool(torch.isfinite(value).all()) for value in dense)


def samples_in(output: Any, batch: Batch) -> int:
    """The common length of the leading axis of the outputs, where some input shares it; else 0."""
    lengths = {tensor.shape[0] if tensor.dim() else 0 for tensor in floating(output)}
    if len(lengths) != 1:
        return 0
    (length,) = lengths
    given = tensors((batch.args, dict(batch.kwargs)))
    return length if any(tensor.dim() and tensor.shape[0] == length for tensor in given) else 0


def evaluated(model: nn.Module, call: Callable[[], Any]) -> Any:
    """``call()`` with the model in evaluation mode and no graph; modes are put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            return call()
    finally:
        for module, training in modes:
            module.training = training


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    parameters = inspect.signature(optimizer.step).parameters
    closure = parameters.get("closure")
    return isinstance(optimizer, torch.optim.LBFGS) or (closure is not None and closure.default is inspect.Parameter.empty)
