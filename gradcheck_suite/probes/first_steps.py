"""First steps: three optimiser steps on one batch, every parameter compared with itself bit by bit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.clipping import Clip
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.first_steps import FirstSteps, ParameterFact
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.probes import clipping
from gradcheck_suite.probes.execution import floating, hookable, realise, tensors
from gradcheck_suite.probes.experiment import Experiment, evaluated, is_finite, samples_in
from gradcheck_suite.probes.influence import without_influence
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

STEPS = 3
# Steps at which an optimiser may hold every parameter back (it gathers gradients, or its rate begins at zero) until it moves one.
_LONGEST = 16
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def first_steps(subject: Subject, budget: Budget, seed: int) -> FirstSteps:
    """What the first steps did (see ``captures.first_steps.FirstSteps``); one step would not do: zero-initialised branches
    have no gradient at first and are healthy.

    Raises:
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with preserved(setup.model), torch.enable_grad():
        record = _Record(Experiment(setup, seed))
        for _ in range(_LONGEST):
            if not record.step() or len(record.rows) == STEPS:
                break
        return record.capture()


class _Record:
    """Rows of the capture, one per step."""

    def __init__(self, run: Experiment) -> None:
        self.run = run
        self.named = list(run.model.named_parameters())
        self.held = {id(p) for group in (run.optimizer.param_groups if run.optimizer else ()) for p in group["params"]}
        self.frozen = _frozen_state(run.model)
        self.rows: list[_Row] = []
        self.held_back: list[_Row] = []
        self.identical = [[_identical(p) for _, p in self.named]]
        self.connected = True
        self.entered: set[str] = set()
        self.reached: set[int] = set()
        self.damped = [-1] * len(self.named)
        self.clips: list[Clip] = []
        self.moved: set[int] = set()
        self.stale: set[int] = set()
        self.idle: set[int] = set()
        self.outputs = [self._outputs()]

    def step(self) -> bool:
        """One step; whether the next one makes sense."""
        with _Entered(self.run.model) as entered:
            loss = self.run.gradients()
        self.entered |= entered.paths
        self.stale |= self.moved & {id(p) for p in self.run.kept}
        self.reached |= {id(p) for _, p in self.named if p.grad is not None}
        self.connected = self.connected and (bool(self.reached) or not any(p.requires_grad for _, p in self.named))
        if not is_finite(loss, *(_dense(p.grad) for _, p in self.named)):
            return False
        gradients = [None if p.grad is None else _dense(p.grad).detach().clone() for _, p in self.named]
        before = [p.detach().clone() for _, p in self.named]
        self.clips += clipping.tried(self.named, gradients, self._given()) if not self.clips else ()
        with clipping.StepWatch(self.named, self.run.optimizer) as watch:
            self.run.step()
        self.clips += watch.clips
        self.moved = {id(p) for (_, p), old in zip(self.named, before, strict=True) if not torch.equal(p.detach(), old)}
        (self.rows if self.moved or self.run.optimizer is None else self.held_back).append(self._row(float(loss), gradients, before))
        return is_finite(*(p.detach() for _, p in self.named))

    def capture(self) -> FirstSteps:
        """The rows as arrays."""
        rows = self.rows or self.held_back[:STEPS]
        count, width = len(rows), len(self.named)
        self.identical.append([_identical(p) for _, p in self.named])
        self.outputs.append(self._outputs())
        self.idle = self._idle()

        def table(name: str, dtype: str) -> Any:
            return frozen([row.columns[name] for row in rows] if count else [[0] * width] * 0, dtype).reshape(count, width)

        return FirstSteps(
            parameters=tuple(self._fact(name, p) for name, p in self.named), planned=self._planned(), connected=self.connected,
            stepped=self.run.optimizer is not None, optimizer=type(self.run.optimizer).__name__ if self.run.optimizer else "",
            losses=frozen([row.loss for row in rows]), missing=table("missing", "|b1"), zero=table("zero", "|b1"),
            gradient_norm=table("gradient_norm", "<f8"), update_norm=table("update_norm", "<f8"),
            weight_norm=table("weight_norm", "<f8"), moving=table("moving", "<i8"), stuck=table("stuck", "<i8"),
            damped=frozen(self.damped, "<i8"), progress=frozen([row.progress for row in rows]),
            progress_error=frozen([row.progress_error for row in rows]), identical=frozen(self.identical, "|b1"),
            spread=frozen([spread for spread, _, _ in self.outputs]), scale=frozen([scale for _, scale, _ in self.outputs]),
            samples=self.outputs[0][2], inputs_differ=_inputs_differ(self.run, self.outputs[0][2]),
            clips=tuple(self.clips), stale=tuple(name for name, p in self.named if id(p) in self.stale),
            frozen_changes=tuple(name for name, old in self.frozen.items() if not _same(old, _state(self.run.model, name))),
        )

    def _given(self) -> list[nn.Parameter]:
        """The parameters that a training would clip."""
        groups = self.run.optimizer.param_groups if self.run.optimizer is not None else [{"params": [p for _, p in self.named]}]
        return [p for group in groups for p in group["params"]]

    def _planned(self) -> int:
        """Steps that were to be made: fewer where the optimiser held the parameters back at most of them."""
        return min(STEPS, len(self.rows)) if self.rows and len(self.rows) + len(self.held_back) == _LONGEST else STEPS

    def _row(self, loss: float, gradients: list[torch.Tensor | None], before: list[torch.Tensor]) -> "_Row":
        row: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        total, size, longest = 0.0, 0.0, 1
        for position, ((_, parameter), gradient, old) in enumerate(zip(self.named, gradients, before, strict=True)):
            change = parameter.detach().double() - old.double()
            nonzero = torch.zeros_like(old, dtype=torch.bool) if gradient is None else gradient != 0
            row["missing"].append(gradient is None)
            row["zero"].append(gradient is not None and not bool(nonzero.any()))
            row["gradient_norm"].append(0.0 if gradient is None else float(gradient.double().norm()))
            row["update_norm"].append(float(change.norm()))
            row["weight_norm"].append(float(old.double().norm()))
            row["moving"].append(int(nonzero.sum()))
            row["stuck"].append(int((nonzero & (parameter.detach() == old)).sum()))
            if gradient is not None:
                products = gradient.double() * change
                total += float(products.sum())
                size += float(products.abs().sum())
                longest = max(longest, products.numel())
                self.damped[position] = _damped(self.run.optimizer, parameter, nonzero)
        return _Row(loss, row, total, longest * torch.finfo(torch.float64).eps * size)

    def _idle(self) -> set[int]:
        """Parameters whose module ran, that get no gradient, and of which nothing depends."""
        unreached = [p for name, p in self.named if p.requires_grad and id(p) not in self.reached
                     and _ran(self.run.model, name.rpartition(".")[0], self.entered)]
        return without_influence(self.run, unreached) if self.connected else set()

    def _fact(self, name: str, parameter: nn.Parameter) -> ParameterFact:
        module, _, own = name.rpartition(".")
        return ParameterFact(
            module=module, name=own, shape=tuple(parameter.shape), trainable=parameter.requires_grad,
            exercised=id(parameter) in self.reached or _ran(self.run.model, module, self.entered),
            alternative=_sibling_ran(self.run.model, module, self.entered), held=id(parameter) in self.held,
            idle=id(parameter) in self.idle,
        )

    def _outputs(self) -> tuple[float, float, int]:
        state = torch.get_rng_state()
        output = evaluated(self.run.model, self.run.output)
        torch.set_rng_state(state)
        samples = samples_in(output, self.run.setup.batch)
        found = [tensor.double() for tensor in floating(output) if not tensor.is_complex() and tensor.numel()]
        scale = max((float(tensor.abs().max()) for tensor in found), default=0.0)
        spread = max((float((tensor - tensor[:1]).abs().max()) for tensor in found), default=0.0) if samples > 1 else 0.0
        return spread, scale, samples


@dataclass(frozen=True, slots=True)
class _Row:
    """One step: the loss before it, the columns of the capture, and the first-order change of the loss with its error."""

    loss: float
    columns: dict[str, list[Any]]
    progress: float
    progress_error: float


_COLUMNS = ("missing", "zero", "gradient_norm", "update_norm", "weight_norm", "moving", "stuck")


class _Entered:
    """Paths of the modules that the forward pass entered."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.paths: set[str] = set()

    def __enter__(self) -> "_Entered":
        self.handles = [module.register_forward_pre_hook(lambda _, __, path=path: self.paths.add(path))
                        for path, module in hookable(self.model)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()



def _module(model: nn.Module, path: str) -> nn.Module:
    """``get_submodule``, which compiled TorchScript refuses."""
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    return modules[path]


def _dense(gradient: torch.Tensor | None) -> Any:
    return gradient.to_dense() if gradient is not None and gradient.layout != torch.strided else gradient


def _ran(model: nn.Module, path: str, entered: set[str]) -> bool:
    """Whether the module ran; a bare container of modules or parameters runs when the module around it does."""
    while path and isinstance(_module(model, path), _CONTAINERS):
        path = path.rpartition(".")[0]
    return path in entered


def _sibling_ran(model: nn.Module, path: str, entered: set[str]) -> bool:
    """Whether, in a list of modules around this one, another member of the same class ran while this one's did not."""
    while path:
        around, _, _ = path.rpartition(".")
        if isinstance(_module(model, around), nn.ModuleList | nn.ModuleDict) and path not in entered:
            kind = type(_module(model, path))
            siblings = _module(model, around).named_children()
            if any(type(sibling) is kind and f"{around}.{name}".lstrip(".") in entered for name, sibling in siblings):
                return True
        path = around
    return False


def _identical(parameter: torch.Tensor) -> bool:
    value = parameter.detach()
    return value.dim() > 1 and value.shape[0] > 1 and value.numel() > 0 and bool((value == value[:1]).all())


def _frozen_state(model: nn.Module) -> dict[str, torch.Tensor]:
    state = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not module.training:
                state[f"{path}.{name}".lstrip(".")] = buffer.detach().clone()
    return state


def _state(model: nn.Module, name: str) -> torch.Tensor:
    module, _, own = name.rpartition(".")
    value: torch.Tensor = getattr(_module(model, module), own)
    return value.detach()


def _same(old: torch.Tensor, new: torch.Tensor) -> bool:
    return old.shape == new.shape and bool(((old == new) | (old.isnan() & new.isnan())).all())


def _inputs_differ(run: Experiment, samples: int) -> bool:
    batch = run.setup.batch
    given = [t for t in tensors((batch.args, dict(batch.kwargs))) if t.dim() and t.shape[0] == samples and samples > 1]
    return any(bool((tensor != tensor[:1]).any()) for tensor in given)


def _damped(optimizer: torch.optim.Optimizer | None, parameter: torch.Tensor, nonzero: torch.Tensor) -> int:
    """Entries whose root mean square of past gradients is below the optimiser's epsilon; -1 where it keeps none."""
    state: dict[str, Any] = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    average = state.get("exp_avg_sq", state.get("square_avg"))
    group = next((g for g in optimizer.param_groups if any(p is parameter for p in g["params"])), {}) if optimizer is not None else {}
    if not isinstance(average, torch.Tensor) or "eps" not in group or average.shape != nonzero.shape:
        return -1
    betas = group.get("betas")
    correction = 1.0 - float(betas[1]) ** float(state.get("step", 1)) if betas is not None and "exp_avg_sq" in state else 1.0
    return int((nonzero & ((average.double() / correction).sqrt() < group["eps"])).sum())
