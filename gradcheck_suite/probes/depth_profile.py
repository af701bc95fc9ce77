"""Depth profile: root mean square of every module's output and norm of its gradient, over fresh initialisations."""

import math
from typing import Any

import torch

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.depth_profile import DepthProfile
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, floating, hookable, objective, realise
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

_DRAWS = 5



def depth_profile(subject: Subject, budget: Budget, seed: int) -> DepthProfile:
    """The profile (see ``captures.depth_profile.DepthProfile``), in the mode under test.

    Raises:
        SubjectError: the subject failed.
    """
    draws = min(_DRAWS, budget.draws) if subject.fresh else 1
    rows: list[dict[str, tuple[torch.Tensor, torch.Tensor | None]]] = []
    eps = torch.finfo(torch.float32).eps
    for draw in range(draws):
        setup = realise(subject, derive(seed, "draw", draw))
        with preserved(setup.model), torch.enable_grad():
            rows.append(_row(setup, seed))
    modules = tuple(dict.fromkeys(path for row in rows for path in row))
    outputs = [output for row in rows for output, _ in row.values()]
    if outputs:
        eps = max(torch.finfo(output.dtype).eps for output in outputs)

    def table(measure: Any, dtype: str) -> Any:
        return frozen([[measure(*row[path]) if path in row else measure(None, None) for path in modules] for row in rows], dtype)

    return DepthProfile(
        modules=modules, forward=table(lambda out, _: _log(out, mean=True), "<f8"), backward=table(lambda _, grad: _log(grad), "<f8"),
        vanished=table(lambda _, grad: grad is not None and not bool(grad.any()), "|b1"),
        overflowed=table(lambda out, grad: any(t is not None and not bool(torch.isfinite(t).all()) for t in (out, grad)), "|b1"),
        eps=eps, fresh=subject.fresh,
    )


def _row(setup: Setup, seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
    """Output and gradient of every module without children that made a floating tensor, at its first call."""
    outputs: dict[str, torch.Tensor] = {}
    handles = [module.register_forward_hook(lambda _, __, output, path=path: _keep(outputs, path, output))
               for path, module in hookable(setup.model) if not list(module.children())]
    try:
        with failures("forward"):
            result = setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    loss = objective(setup, result, seed)
    carried = [path for path, output in outputs.items() if output.requires_grad]
    gradients: dict[str, torch.Tensor | None] = {}
    if loss.requires_grad and carried:
        with failures("backward"):
            found = torch.autograd.grad(loss, [outputs[path] for path in carried], allow_unused=True)
        gradients = dict(zip(carried, found, strict=True))
    return {path: (output.detach(), gradients.get(path)) for path, output in outputs.items()}


def _keep(outputs: dict[str, torch.Tensor], path: str, output: Any) -> None:
    found = [tensor for tensor in floating(output) if not tensor.is_complex() and tensor.numel()]
    if found and path not in outputs:
        outputs[path] = found[0]


def _log(value: torch.Tensor | None, mean: bool = False) -> float:
    if value is None:
        return math.nan
    size = float(value.double().norm())
    if not math.isfinite(size) or size == 0.0:
        return math.nan
    return math.log(size / math.sqrt(value.numel())) if mean else math.log(size)


