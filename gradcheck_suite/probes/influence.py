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
_TRIALS = 16
_AGREEING = 4
_Group = list[nn.Parameter]


def without_influence(run: Experiment, parameters: Sequence[nn.Parameter]) -> set[int]:
    """Identities of those parameters whose replacement leaves loss and outputs as they are, bit for bit, in the mode under test.

    All parameters are first moved by a tenth of their size, tensors of zeros by a tenth, so that a gate of zero hides nothing. Then
    the parameters in question are replaced by others of twice their size, all at once, and in halves where something changes or the
    run fails. Where nothing changes, three more replacements must agree: two changes of sign may cancel, and a rounded result seldom
    moves. Whole modules come first, the last in the model's order before the others, then the parameters of one module. Where the
    outputs nearby are not finite or do not repeat, every parameter counts as having influence. Integer parameters are not moved.

    At most sixteen replacements are made, for each is a forward pass. What they leave undecided counts as having influence. That is
    the stricter answer, and it never turns a set in which nothing has influence into one in which something has: there the first
    four, of all at once, decide. It may name parameters without influence beside others that do have some.

    The model is left bit for bit as it was.
    """
    if not parameters:
        return set()
    with torch.enable_grad(), preserved(run.model):
        generator = torch.Generator().manual_seed(derive(run.seed, "influence"))
        sizes = {id(parameter): _move(parameter.detach(), generator) for parameter in run.model.parameters()}
        with preserved(run.model) as nearby:
            trial = _Trial(run, nearby, sizes)
            return {id(parameter) for parameter in trial.silent(_by_module(run.model, parameters))} if trial.repeats else set()


def _by_module(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[_Group]:
    """The parameters of each module, in the order in which they are given."""
    owners = {id(parameter): name.rpartition(".")[0] for name, parameter in model.named_parameters()}
    groups: dict[str, _Group] = {}
    for parameter in parameters:
        groups.setdefault(owners.get(id(parameter), ""), []).append(parameter)
    return list(groups.values())


class _Trial:
    """Outputs where the guard was made, and again with some parameters replaced by others of twice the given sizes."""

    def __init__(self, run: Experiment, guard: Guard, sizes: dict[int, float]) -> None:
        self._run, self._guard, self._sizes, self._left = run, guard, sizes, _TRIALS
        self._base = self._returned(())
        again = self._returned(())
        self.repeats = bool(self._base) and all(map(_finite, self._base)) and _equal(self._base, again)

    def silent(self, groups: list[_Group]) -> list[nn.Parameter]:
        """Those of the parameters that are found to change nothing."""
        found, mixed = self._searched([groups])
        for group in mixed:
            found += self._searched(_halves([[parameter] for parameter in group]))[0]
        return found

    def _searched(self, waiting: list[list[_Group]]) -> tuple[list[nn.Parameter], list[_Group]]:
        """Parameters that change nothing, and groups of several of which some parameter does; the last that waits is tried first."""
        found: list[nn.Parameter] = []
        mixed: list[_Group] = []
        while waiting and self._left >= _AGREEING:
            groups = waiting.pop()
            chosen = [parameter for group in groups for parameter in group]
            if not any(self._changed(chosen, draw) for draw in range(_AGREEING)):
                found += chosen
            elif len(groups) > 1:
                waiting += _halves(groups)
            elif len(chosen) > 1:
                mixed.append(chosen)
        return found, mixed

    def _changed(self, replaced: Sequence[nn.Parameter], draw: int) -> bool:
        self._left -= 1
        return not _equal(self._base, self._returned(replaced, draw))

    def _returned(self, replaced: Sequence[nn.Parameter], draw: int = 0) -> list[torch.Tensor]:
        """Outputs and loss; the first draw turns the signs of what it replaces, the others forget the values."""
        self._guard.rewind()
        generator = torch.Generator().manual_seed(derive(self._run.seed, "influence", draw))
        kept, noise = (0.0, 2.0) if draw else (-2.0, 1.0)
        for parameter in replaced:
            value = parameter.detach()
            value.mul_(kept).add_(_noise(value, generator), alpha=noise * (self._sizes[id(parameter)] or 1.0))
        try:
            output = self._run.output()
            loss = [self._run.loss(output)] if self._run.setup.loss is not None else []
        except GradcheckError:
            return []
        return [tensor.detach().clone() for tensor in (*tensors(output), *loss)]


def _halves(groups: list[_Group]) -> list[list[_Group]]:
    middle = len(groups) // 2
    return [groups[:middle], groups[middle:]]


def _move(value: torch.Tensor, generator: torch.Generator) -> float:
    """Move the values by a tenth of their root mean square, which is returned; integers stay."""
    if not value.numel() or not (value.is_floating_point() or value.is_complex()):
        return 0.0
    size = float(value.abs().double().square().mean().sqrt())
    value.add_(_noise(value, generator), alpha=_NEARBY * (size or 1.0))
    return size


def _noise(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(value.shape, generator=generator).to(value)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
