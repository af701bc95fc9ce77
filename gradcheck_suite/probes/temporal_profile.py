"""Temporal profile: the gradient that reaches each step of a recurrence."""

from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.temporal_profile import Recurrence, TemporalProfile
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, floating, hookable, objective, realise
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

_DRAWS = 3
_LEAST = 4
_CALLS = 8


def temporal_profile(subject: Subject, budget: Budget, seed: int) -> TemporalProfile:
    """The profile (see ``captures.temporal_profile``): of ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``, and of modules called many times.

    Raises:
        NotApplicable: nothing in the model runs over time.
        SubjectError: the subject failed.
    """
    draws: list[dict[str, tuple[str, bool, list[float]]]] = []
    eps = 0.0
    for draw in range(_DRAWS if subject.fresh else 1):
        setup = realise(subject, derive(seed, "draw", draw))
        with preserved(setup.model), torch.enable_grad():
            watch = _Recurrences(setup.model)
            found = watch.profile(setup, seed)
            eps = max(eps, watch.eps)
        draws.append(found)
        if not found:
            break
    common = [path for path in draws[0] if all(path in row and len(row[path][2]) == len(draws[0][path][2]) for row in draws)]
    if not common:
        raise NotApplicable("no module of the model runs over time steps")
    return TemporalProfile(
        recurrences=tuple(Recurrence(module=path, kind=draws[0][path][0], reversed_too=draws[0][path][1],
                                     norms=frozen([row[path][2] for row in draws])) for path in common), eps=eps)


class _Recurrences:
    """Hooks on recurrent modules (their inputs) and on modules without children (their outputs, call by call)."""

    def __init__(self, model: nn.Module) -> None:
        self.inputs: dict[str, tuple[nn.RNNBase, torch.Tensor]] = {}
        self.calls: dict[str, list[torch.Tensor]] = {}
        self.modules = dict(hookable(model))
        self.eps = 0.0

    def profile(self, setup: Setup, seed: int) -> dict[str, tuple[str, bool, list[float]]]:
        """Per recurrence: class, whether it also runs backward in time, and the gradient's norm at each step."""
        handles = []
        for path, module in self.modules.items():
            if isinstance(module, nn.RNNBase):
                handles.append(module.register_forward_pre_hook(lambda m, args, path=path: self._sequence(path, m, args)))
            elif not list(module.children()):
                handles.append(module.register_forward_hook(lambda _, __, output, path=path: self._call(path, output)))
        try:
            with failures("forward"):
                output = setup.model(*setup.batch.args, **setup.batch.kwargs)
        finally:
            for handle in handles:
                handle.remove()
        loss = objective(setup, output, seed)
        repeated = {path: outputs for path, outputs in self.calls.items() if len(outputs) >= _CALLS} if not self.inputs else {}
        wanted = [*(x for _, x in self.inputs.values()), *(t for outputs in repeated.values() for t in outputs)]
        if not loss.requires_grad or not wanted:
            return {}
        with failures("backward"):
            gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True))
        self.eps = max(torch.finfo(tensor.dtype).eps for tensor in wanted)
        found = {}
        for path, (module, x) in self.inputs.items():
            norms = _over_time(next(gradients), x, module.batch_first)
            found[path] = (type(module).__name__, bool(module.bidirectional), norms)
        for path, outputs in repeated.items():
            norms = [0.0 if g is None else float(g.double().norm()) for g in (next(gradients) for _ in outputs)]
            found[path] = (type(self.modules[path]).__name__, False, norms)
        return {path: row for path, row in found.items() if len(row[2]) >= _LEAST and any(row[2])}

    def _sequence(self, path: str, module: nn.RNNBase, args: tuple[Any, ...]) -> Any:
        if path in self.inputs or not args or not isinstance(args[0], torch.Tensor) or args[0].dim() != 3:
            return None
        x = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        self.inputs[path] = (module, x)
        return (x, *args[1:])

    def _call(self, path: str, output: Any) -> None:
        carried = [tensor for tensor in floating(output) if tensor.requires_grad and not tensor.is_complex()]
        if carried:
            self.calls.setdefault(path, []).append(carried[0])


def _over_time(gradient: torch.Tensor | None, x: torch.Tensor, batch_first: bool) -> list[float]:
    if gradient is None:
        return [0.0] * x.shape[1 if batch_first else 0]
    by_step = (gradient.transpose(0, 1) if batch_first else gradient).double().flatten(1)
    return [float(norm) for norm in by_step.norm(dim=1)]
