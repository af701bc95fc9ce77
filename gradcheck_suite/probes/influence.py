"""Influence: which parameters change nothing of what a model returns, whatever their values."""

from collections.abc import Sequence

import torch
from torch import nn

from gradcheck_suite.core.errors import GradcheckError
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import tensors
from gradcheck_suite.probes.experiment import Experiment
from gradcheck_suite.probes.state import Guard, preserved

_NEARBY = 0.1


def without_influence(run: Experiment, parameters: Sequence[nn.Parameter]) -> set[int]:
    """Identities of those parameters whose replacement leaves loss and outputs as they are, bit for bit, in the mode under test.

    All parameters are first moved by a tenth of their size, tensors of zeros by a tenth, so that a gate of zero hides nothing. Then
    the parameters in question are replaced by others of twice their size, all at once, and in halves where something changes or the
    run fails. Where the outputs nearby are not finite or do not repeat, every parameter counts as having influence.

    The model is left bit for bit as it was.
    """
    if not parameters:
        return set()
    with torch.enable_grad(), preserved(run.model) as guard:
        trial = _Trial(run, guard)
        if not trial.repeats:
            return set()
        return {id(parameter) for parameter in trial.silent(list(parameters))}


class _Trial:
    """Outputs at a point nearby, and again with some parameters replaced."""

    def __init__(self, run: Experiment, guard: Guard) -> None:
        self._run, self._guard = run, guard
        self._base = self._returned(())
        again = self._returned(())
        self.repeats = bool(self._base) and all(map(_finite, self._base)) and _equal(self._base, again)

    def silent(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        """Those of the parameters that change nothing."""
        if _equal(self._base, self._returned(parameters)):
            return parameters
        if len(parameters) == 1:
            return []
        half = len(parameters) // 2
        return [*self.silent(parameters[:half]), *self.silent(parameters[half:])]

    def _returned(self, replaced: Sequence[nn.Parameter]) -> list[torch.Tensor]:
        self._guard.rewind()
        generator = torch.Generator().manual_seed(derive(self._run.seed, "influence"))
        chosen = {id(parameter) for parameter in replaced}
        for parameter in self._run.model.parameters():
            _move(parameter.detach(), generator, id(parameter) in chosen)
        try:
            output = self._run.output()
            loss = [self._run.loss(output)] if self._run.setup.loss is not None else []
        except GradcheckError:
            return []
        return [tensor.detach().clone() for tensor in (*tensors(output), *loss)]


def _move(value: torch.Tensor, generator: torch.Generator, replace: bool) -> None:
    noise, other = (torch.randn(value.shape, generator=generator).to(value) for _ in range(2))
    size = float(value.abs().double().square().mean().sqrt()) if value.numel() else 0.0
    value.add_(noise, alpha=_NEARBY * (size or 1.0))
    if replace:
        value.mul_(-2.0).add_(other, alpha=size or 1.0)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
