"""The whole model in situ: forward, loss and backward as in training, real parameters perturbed in place."""

from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import INPUT, PARAMETER, Experiment
from gradcheck_suite.probes.directional_derivative.generators import Generators, State
from gradcheck_suite.probes.directional_derivative.record import Paths, module_paths
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.trees import Tree, argument_names, inexact_leaves
from gradcheck_suite.probes.directional_derivative.units import spare_padding
from gradcheck_suite.subject import Setup


class Objective(nn.Module):
    """A loss that is a plain function, as a module, so that its call is recorded like any other."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, output: Any, targets: Any) -> Any:
        """The loss."""
        return self.function(output, targets)


class Whole(Experiment):
    """The model with its loss, at the subject's batch.

    Inputs that do not require a gradient in training are not perturbed, unless there is nothing else to perturb.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.detached = "alone"
        self.stage = "forward"
        self.model, self.targets = setup.model, setup.batch.targets
        loss: Any = setup.loss
        self.loss: nn.Module | None = loss if isinstance(loss, nn.Module) or loss is None else Objective(loss)
        self.resets = Resets(self.root)
        self.generators, self.state = Generators([]), State()
        self.copies = False
        self._keywords = tuple(setup.batch.kwargs)
        self._batch = Tree((*setup.batch.args, *setup.batch.kwargs.values()))
        self._parameters = [(name, p) for name, p in self.root.named_parameters() if p.requires_grad and p.layout == torch.strided]
        given = [leaf.requires_grad for leaf in self._batch.leaves]
        everything = not self._parameters and not any(given)
        self.moving = [everything or carried for carried in given]
        self._leaves = [leaf.detach().requires_grad_(moves) for leaf, moves in zip(self._batch.leaves, self.moving, strict=True)]
        inputs = [leaf for leaf, moves in zip(self._leaves, self.moving, strict=True) if moves]
        self.tensors = [*inputs, *(parameter for _, parameter in self._parameters)]
        self.roles = [INPUT] * len(inputs) + [PARAMETER] * len(self._parameters)
        for module in self.root.modules():
            spare_padding(module, self.tensors, self.untouched)

    @property
    def root(self) -> nn.Module:
        """Model and loss under one roof; the model alone where the loss has no modules."""
        if self.loss is None or (isinstance(self.loss, Objective) and not isinstance(self.loss.function, nn.Module)):
            return self.model
        return nn.ModuleList([self.model, self.loss])

    def names(self) -> list[str]:
        """Argument names, then parameter names; those of a loss start with ``loss.``."""
        named = self._batch.paths(argument_names(self.model, *self._invocation(list(self._leaves))))
        inputs = [name for name, moves in zip(named, self.moving, strict=True) if moves]
        return [*inputs, *(self._own(name) for name, _ in self._parameters)]

    def run(self) -> list[torch.Tensor]:
        """The loss, or every output that can carry a gradient where there is no loss."""
        self.generators.write(self.state)
        leaves = [leaf.clone() if moves or self.copies else leaf for leaf, moves in zip(self._leaves, self.moving, strict=True)]
        args, kwargs = self._invocation(leaves)
        self.stage = "forward"
        output = self.model(*args, **kwargs)
        if self.loss is None:
            return inexact_leaves(output)
        self.stage = "loss"
        return inexact_leaves(self.loss(output, self.targets))

    def paths(self) -> Paths:
        """Every module and its path, by identity; modules of a loss are under ``loss``, a plain loss function is ``""``."""
        found = {} if self.loss is None else module_paths(self.loss, "" if isinstance(self.loss, Objective) else "loss.")
        return {**found, **module_paths(self.model)}

    def cotangent(self, output: torch.Tensor, draws: Draws) -> torch.Tensor:
        """1 for a loss, as in training; random where there is none."""
        if self.loss is not None and output.numel() == 1:
            return torch.ones_like(output)
        return super().cotangent(output, draws)

    def reset(self) -> None:
        """Put back buffers, counters and caches."""
        self.resets.restore()

    def _invocation(self, leaves: list[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        items = self._batch.build(leaves)
        count = len(items) - len(self._keywords)
        return items[:count], dict(zip(self._keywords, items[count:], strict=True))

    def _own(self, name: str) -> str:
        if self.root is self.model:
            return name
        place, _, rest = name.partition(".")
        return rest if place == "0" else f"loss.{rest}"
