"""Gradient norm draws: how far a random cotangent is stretched on its way back, over fresh initialisations."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import Running, contraction, cotangents, differentiable, failures, floating, realise
from gradcheck_suite.probes.leaves import LeafCall, LeafWatch
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.probes.steps import fans
from gradcheck_suite.subject import Setup, Subject


def gradient_norm_draws(subject: Subject, budget: Budget, seed: int) -> GradientNormDraws:
    """``budget.draws`` realisations, one forward and backward pass each (see ``captures.gradient_norm_draws``).

    Raises:
        NotApplicable: the subject is one instance, returns nothing that can be differentiated, or changes its layers
            from draw to draw.
        SubjectError: the subject could not be built, or a pass raised.
    """
    if not subject.fresh:
        raise NotApplicable("the subject is one instance: its initialisation cannot be drawn again")
    rows = []
    for index in range(budget.draws):
        case = derive(seed, "draw", index)
        rows.append(_Draw.measure(realise(subject, case), case))
        if rows[-1].key() != rows[0].key():
            raise NotApplicable("the layers that run change from one draw to the next")
    return _gather(rows, budget.alpha)


@dataclass(slots=True)
class _Draw:
    """One realisation: names and per-draw numbers. ``pairs`` hold (first sample, whole batch)."""

    calls: list[tuple[str, str, int]] = field(default_factory=list)
    forward: list[tuple[float, float]] = field(default_factory=list)
    backward: list[list[float]] = field(default_factory=list)
    cotangent: tuple[float, float] = (0.0, 0.0)
    input_norm: tuple[float, float] = (0.0, 0.0)
    input_gradient: tuple[float, float] = (0.0, 0.0)
    output_norm: tuple[float, float] = (0.0, 0.0)
    weights: list[tuple[str, int, int, int]] = field(default_factory=list)
    weight_facts: list[tuple[float, float, float, float]] = field(default_factory=list)
    biases: list[tuple[str, int]] = field(default_factory=list)
    bias_facts: list[tuple[float, float]] = field(default_factory=list)
    concentration: float = float("nan")
    sizes: tuple[int, int, int] = (0, 0, 0)
    epsilon: float = 0.0

    def key(self) -> tuple[Any, ...]:
        """What must not change between draws."""
        return tuple(self.calls), tuple(self.weights), tuple(self.biases), self.sizes

    @classmethod
    def measure(cls, setup: Setup, seed: int) -> "_Draw":
        draw, model = cls(), setup.model
        batch, leaves = differentiable(setup.batch)
        with preserved(model), torch.enable_grad():
            model.zero_grad(set_to_none=True)
            samples = leaves[0].shape[0] if leaves and leaves[0].dim() else 0
            with Running(model) as running, LeafWatch(model, draw._observer(samples)), failures("forward", running):
                output = model(*batch.args, **batch.kwargs)
            outputs = [tensor for tensor in floating(output) if tensor.requires_grad]
            if not outputs:
                raise NotApplicable("no floating output of the model depends on its inputs or parameters")
            directions = cotangents(outputs, seed)
            with failures("backward"):
                contraction(outputs, directions).backward()  # type: ignore[no-untyped-call]
            draw.cotangent, draw.output_norm = _norms(directions, samples), _norms(outputs, samples)
            draw.input_norm = _norms(leaves, samples)
            draw.input_gradient = _norms([leaf.grad for leaf in leaves], samples)
            draw._parameters(model)
            per_sample = max(samples, 1)
            draw.sizes = (sum(t.numel() for t in leaves) // per_sample, sum(t.numel() for t in outputs) // per_sample, samples)
            first = torch.cat([leaf.detach()[:1].double().flatten() for leaf in leaves]) if samples else torch.zeros(1)
            square = first.square()
            draw.concentration = float(square.square().sum() / square.sum() ** 2)
        return draw

    def _observer(self, samples: int) -> Any:
        def observe(call: LeafCall) -> None:
            self.calls.append((call.path, call.kind, sum(t.numel() for t in call.outputs) // max(samples, 1)))
            self.forward.append(_norms(call.outputs, samples))
            sums = [0.0, 0.0]
            self.backward.append(sums)
            for output in call.outputs:
                if output.requires_grad:
                    output.register_hook(_adder(sums, samples))  # type: ignore[no-untyped-call]

        return observe

    def _parameters(self, model: nn.Module) -> None:
        widths = []
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                full = f"{path}.{name}" if path else name
                values = parameter.detach().double()
                widths.append(torch.finfo(parameter.dtype).eps if parameter.is_floating_point() else 1.0)
                if parameter.dim() < 2:
                    if "bias" in name:
                        self.biases.append((full, values.numel()))
                        self.bias_facts.append((float(values.mean()), float(values.square().mean())))
                    continue
                fan_in, fan_out = fans(module) if name == "weight" else (values.shape[1], values.shape[0])
                square = values.square()
                gradient = 0.0 if parameter.grad is None else float(parameter.grad.double().square().sum())
                self.weights.append((full, values.numel(), fan_in, fan_out))
                self.weight_facts.append((float(values.mean()), float(square.mean()), float(square.square().mean()), gradient))
        self.epsilon = min(widths, default=torch.finfo(torch.get_default_dtype()).eps)


def _adder(sums: list[float], samples: int) -> Any:
    def add(gradient: torch.Tensor) -> None:
        first, whole = _norms([gradient], samples)
        sums[0] += first
        sums[1] += whole

    return add


def _norms(values: Any, samples: int) -> tuple[float, float]:
    """Squared norms of the first sample (NaN where the leading axis is not the batch's) and of everything."""
    first = whole = 0.0
    for value in values:
        if value is None:
            continue
        square = torch.view_as_real(value.detach()).double().square() if value.is_complex() else value.detach().double().square()
        whole += float(square.sum())
        first += float(square[0].sum()) if samples and value.dim() and value.shape[0] == samples else float("nan")
    return first, whole


def _gather(rows: list[_Draw], alpha: float) -> GradientNormDraws:
    one = rows[0]
    u, x, y, g = (np.array([getattr(row, name) for row in rows]) for name in ("cotangent", "input_norm", "output_norm", "input_gradient"))
    forward = np.array([row.forward for row in rows]).reshape(len(rows), len(one.calls), 2)
    backward = np.array([row.backward for row in rows]).reshape(len(rows), len(one.calls), 2)
    weight = np.array([row.weight_facts for row in rows]).reshape(len(rows), len(one.weights), 4)
    bias = np.array([row.bias_facts for row in rows]).reshape(len(rows), len(one.biases), 2)
    has_inputs = one.sizes[0] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(g) - np.log(u) if has_inputs else np.full_like(u, np.nan)
        return GradientNormDraws(
            paths=tuple(path for path, _, _ in one.calls), kinds=tuple(kind for _, kind, _ in one.calls),
            sizes=frozen([size for _, _, size in one.calls], "<i8"), ratio=frozen(ratio[:, 0]), ratio_batch=frozen(ratio[:, 1]),
            signal=frozen(np.log(y[:, 0]) - np.log(x[:, 0])),
            layer_gradient=frozen(np.log(backward[:, :, 0]) - np.log(u[:, :1])),
            layer_gradient_batch=frozen(np.log(backward[:, :, 1]) - np.log(u[:, 1:])),
            layer_signal=frozen(np.log(forward[:, :, 0]) - np.log(x[:, :1])),
            weights=tuple(name for name, *_ in one.weights), weight_entries=frozen([w[1] for w in one.weights], "<i8"),
            fan_in=frozen([w[2] for w in one.weights], "<i8"), fan_out=frozen([w[3] for w in one.weights], "<i8"),
            weight_mean=frozen(weight[:, :, 0]), weight_square=frozen(weight[:, :, 1]), weight_fourth=frozen(weight[:, :, 2]),
            weight_gradient=frozen(np.log(weight[:, :, 3]) - np.log(u[:, 1:])),
            biases=tuple(name for name, _ in one.biases), bias_entries=frozen([size for _, size in one.biases], "<i8"),
            bias_mean=frozen(bias[:, :, 0]), bias_square=frozen(bias[:, :, 1]),
            input_norm=frozen(np.sqrt(x[:, 0])), concentration=frozen([row.concentration for row in rows]),
            input_size=one.sizes[0], output_size=one.sizes[1], batch=one.sizes[2], epsilon=one.epsilon, alpha=alpha,
        )
