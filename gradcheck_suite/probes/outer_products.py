"""Outer products: the gradient of a linear layer's weight is known from the signals that pass it."""

from collections import Counter
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.outer_products import OuterProducts
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.execution import Running, differentiable, failures, objective, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import norm, replayed
from gradcheck_suite.probes.graph import uses
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
SAME = 1e-9  # relative: two ways to compute W x + b in float64


def outer_products(subject: Subject, budget: Budget, seed: int) -> OuterProducts:
    """One forward and backward pass of the subject's objective in float64 (see ``captures.outer_products``).

    Layers whose weight is used by anything but their own calls (tied weights) are left out, as are declared mismatches and outputs
    that no gradient reaches, or that are views and changed in place, where no hook sees it, or that the backward pass computes again.

    Raises:
        NotApplicable: no trained linear layer ran with a weight of its own, or the model does not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide, preserved(wide.model):
        wide.model.zero_grad(set_to_none=True)
        signals, value = _forward(wide, seed)
        own = {path: module for path, module in _own_weights(wide.model, signals, value).items() if path not in setup.intended}
        if not own:
            raise NotApplicable("no trained linear layer ran with a weight of its own")
        paths = {id(module): path for path, module in wide.model.named_modules()}
        with failures("backward"), replayed(paths) as again:
            value.backward()  # type: ignore[no-untyped-call]
        own = {path: module for path, module in own.items() if path not in again and all(len(slot) == 1 for _, slot in signals[path])}
        if not own:
            raise NotApplicable("every linear layer's output is changed in place, which hides its gradient, or the layer is run again")
        rows = [_compared(module, signals[path]) for path, module in own.items()]
    columns = {name: frozen([row[name] for row in rows]) for name in rows[0]}
    return OuterProducts(paths=tuple(own), calls=frozen([len(signals[path]) for path in own], "<i8"), **columns)


Signals = dict[str, list[tuple[Tensor, list[Tensor]]]]


def _forward(setup: Setup, seed: int) -> tuple[Signals, Tensor]:
    """Per linear layer whose output is W x + b, and call: its input, and a list that the gradient at its output will be put in."""
    signals: Signals = {}
    masked: set[str] = set()
    handles = []
    for path, module in setup.model.named_modules():
        if not isinstance(module, nn.Linear):
            continue

        def keep(module: Any, args: Any, output: Any, path: str = path) -> None:
            if isinstance(output, Tensor) and output.requires_grad and args and isinstance(args[0], Tensor):
                with torch.no_grad():
                    plain = nn.functional.linear(args[0], module.weight, module.bias)
                if plain.shape != output.shape or norm(plain - output) > SAME * norm(plain):
                    masked.add(path)
                slot: list[Tensor] = []
                signals.setdefault(path, []).append((args[0].detach().clone(), slot))
                _arriving(output, slot)

        handles.append(module.register_forward_hook(keep))
    batch, _ = differentiable(setup.batch)
    try:
        with Running(setup.model) as running, failures("forward", running):
            output = setup.model(*batch.args, **batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return {path: calls for path, calls in signals.items() if path not in masked}, objective(setup, output, seed)


def _arriving(output: Tensor, slot: list[Tensor]) -> None:
    """Have the gradient that arrives at an output put into a list, as whatever hooks the tensor has, or gets, leave it."""
    number, node = output.output_nr, output.grad_fn
    if node is not None:
        node.register_prehook(lambda gradients: slot.append(gradients[number]) if gradients[number] is not None else None)


def _own_weights(model: nn.Module, signals: Signals, value: Tensor) -> dict[str, Any]:
    """Linear layers whose weight enters the graph once for each of their calls and belongs to no other module."""
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    taken = uses(value)
    found = {}
    for path, calls in signals.items():
        module: Any = model.get_submodule(path)
        weight = module.weight
        if weight.is_leaf and weight.requires_grad and owners[id(weight)] == 1 and len(taken.get(id(weight), ())) == len(calls):
            found[path] = module
    return found


def _compared(module: Any, calls: list[tuple[Tensor, list[Tensor]]]) -> dict[str, float]:
    weight, sizes = torch.zeros_like(module.weight), torch.zeros_like(module.weight)
    bias, bias_sizes = torch.zeros(len(weight), dtype=weight.dtype), torch.zeros(len(weight), dtype=weight.dtype)
    for x, slot in calls:
        for delta in slot:
            rows, columns = delta.reshape(-1, delta.shape[-1]), x.reshape(-1, x.shape[-1]).to(delta.dtype)
            weight, sizes = weight + rows.T @ columns, sizes + rows.abs().T @ columns.abs()
            bias, bias_sizes = bias + rows.sum(0), bias_sizes + rows.abs().sum(0)
    of_weight, of_weight_ratio = _against(module.weight.grad, weight, sizes)
    trained = module.bias is not None and module.bias.requires_grad
    of_bias, of_bias_ratio = _against(module.bias.grad, bias, bias_sizes) if trained else (float("nan"),) * 2
    return {"weight": of_weight, "weight_ratio": of_weight_ratio, "bias": of_bias, "bias_ratio": of_bias_ratio,
            "epsilon": torch.finfo(weight.dtype).eps}


def _against(gradient: Tensor | None, expected: Tensor, sizes: Tensor) -> tuple[float, float]:
    found = torch.zeros_like(expected) if gradient is None else gradient.detach().to_dense()
    expected, scale = expected.detach(), float(sizes.detach().norm())
    square = float(expected.square().sum())
    ratio = float((found * expected).sum()) / square if square > 0 else float("nan")
    return float((found - expected).norm()) / (scale or 1.0), ratio
